package bank

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
)

// batchParameters is how many there are in one statement. SQLite takes $1 for a name,
// and the time to find names grows with the square of their number.
const batchParameters = 280

// insertion writes rows of one table, many at once.
type insertion struct {
	table   string
	columns []string
	most    int // rows at once
	// rows is how many statement, the last that was made, is for.
	rows      int
	statement string
}

func newInsertion(table string, columns []string) *insertion {
	return &insertion{table: table, columns: columns, most: max(1, batchParameters/len(columns))}
}

// exec writes rows, given as all their values in a row.
func (i *insertion) exec(ctx context.Context, tx *sql.Tx, values []any) error {
	for part := range slices.Chunk(values, i.most*len(i.columns)) {
		if rows := len(part) / len(i.columns); rows != i.rows {
			i.rows, i.statement = rows, i.spell(rows)
		}
		if _, err := tx.ExecContext(ctx, i.statement, part...); err != nil {
			return err
		}
	}
	return nil
}

func (i *insertion) spell(rows int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO " + i.table + " (" + strings.Join(i.columns, ", ") + ") VALUES ")
	for n := range rows * len(i.columns) {
		switch {
		case n == 0:
			b.WriteString("(")
		case n%len(i.columns) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(n+1))
	}
	b.WriteString(")")
	if i.table == "meta" { // its rows are there, and others wait for that of the epoch
		b.WriteString(" ON CONFLICT (key) DO UPDATE SET value = excluded.value")
	}
	return b.String()
}
