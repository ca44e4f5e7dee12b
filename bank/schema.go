package bank

// migrations bring a store from each schema version to the next. A published
// one never changes. Types are those of PostgreSQL, which SQLite takes as
// hints.
var migrations = []string{`
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value BIGINT NOT NULL
);
-- epoch: counts commits that change what is matched. Its row is the write lock.
-- bank_id, content_id: the last numbers given; numbers are never given twice.
INSERT INTO meta (key, value) VALUES ('epoch', 0), ('bank_id', 0), ('content_id', 0);

CREATE TABLE bank (
	id          BIGINT PRIMARY KEY,
	name        TEXT NOT NULL UNIQUE,
	ratio       DOUBLE PRECISION NOT NULL,
	md5_enforce BIGINT NOT NULL
);

-- epoch: the commit that last changed how this content is matched.
CREATE TABLE content (
	id            BIGINT PRIMARY KEY,
	bank          BIGINT NOT NULL REFERENCES bank (id) ON DELETE CASCADE,
	epoch         BIGINT NOT NULL,
	created       BIGINT NOT NULL,
	disable_until BIGINT NOT NULL,
	note          TEXT NOT NULL,
	metadata      TEXT NOT NULL
);
CREATE INDEX content_epoch ON content (epoch);
CREATE INDEX content_bank ON content (bank);

-- quality is NULL when unknown, hasher when the value was made elsewhere.
CREATE TABLE signal (
	content BIGINT NOT NULL REFERENCES content (id) ON DELETE CASCADE,
	type    TEXT NOT NULL,
	variant BIGINT NOT NULL,
	value   BYTEA NOT NULL,
	quality BIGINT,
	hasher  BIGINT,
	PRIMARY KEY (content, type, variant)
);
CREATE INDEX signal_value ON signal (value, type);

-- What an exchange banked: a content stays while any source names it.
CREATE TABLE source (
	exchange TEXT NOT NULL,
	key      TEXT NOT NULL,
	content  BIGINT NOT NULL REFERENCES content (id) ON DELETE CASCADE,
	PRIMARY KEY (exchange, key)
);
CREATE INDEX source_content ON source (content);

-- Contents removed one by one, for indexes that still hold them. Those of a
-- removed bank are not listed: without their bank they match nothing.
CREATE TABLE removed (
	content BIGINT PRIMARY KEY,
	epoch   BIGINT NOT NULL
);
CREATE INDEX removed_epoch ON removed (epoch);
`, `
-- bank: where what is fetched goes. completed: has it been through once since it
-- was created? checkpoint: where the next fetch resumes; only the API knows its
-- form. credential: the exchange's own, empty for none.
CREATE TABLE exchange (
	name       TEXT PRIMARY KEY,
	bank       BIGINT NOT NULL UNIQUE REFERENCES bank (id) ON DELETE CASCADE,
	api        TEXT NOT NULL,
	config     TEXT NOT NULL,
	credential TEXT NOT NULL,
	enabled    BIGINT NOT NULL,
	completed  BIGINT NOT NULL,
	checkpoint TEXT NOT NULL,
	started    BIGINT,
	finished   BIGINT,
	succeeded  BIGINT,
	current    BIGINT NOT NULL,
	problem    TEXT NOT NULL
);

-- What an exchange has seen and not finished with. due: when to try again, in
-- Unix milliseconds.
CREATE TABLE pending (
	exchange TEXT NOT NULL REFERENCES exchange (name) ON DELETE CASCADE,
	key      TEXT NOT NULL,
	task     TEXT NOT NULL,
	since    BIGINT NOT NULL,
	attempts BIGINT NOT NULL,
	due      BIGINT NOT NULL,
	problem  TEXT NOT NULL,
	PRIMARY KEY (exchange, key)
);
CREATE INDEX pending_order ON pending (exchange, attempts, due, key);

-- What all exchanges of an API without a credential of their own may use.
CREATE TABLE credential (
	api   TEXT PRIMARY KEY,
	value TEXT NOT NULL
);
`, `
-- Who does what only one process may do, until expires, in Unix milliseconds by the
-- database's clock. fence counts holders: what an earlier one was about to write is
-- refused by it.
CREATE TABLE lease (
	name    TEXT PRIMARY KEY,
	holder  TEXT NOT NULL,
	fence   BIGINT NOT NULL,
	expires BIGINT NOT NULL
);

-- The one snapshot of the index, kept elsewhere, that may be loaded: of which epoch
-- it is, and the digest that it must have. There is one row at most.
CREATE TABLE snapshot (
	id     BIGINT PRIMARY KEY CHECK (id = 1),
	epoch  BIGINT NOT NULL,
	digest BYTEA NOT NULL
);
`, `
-- The last commits: a random mark of each tells it from one that another past of this
-- store has had at that epoch.
CREATE TABLE past (
	epoch BIGINT PRIMARY KEY,
	mark  BIGINT NOT NULL
);
`, `
ALTER TABLE bank ADD COLUMN monitor BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bank ADD COLUMN allow BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bank ADD COLUMN agree BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bank ADD COLUMN breaker BIGINT NOT NULL DEFAULT 0;

-- report: what the API tells of its source beside the last fetch, a JSON object.
ALTER TABLE exchange ADD COLUMN report TEXT NOT NULL DEFAULT '';

-- imported: did it come from an export or a list, whose hashes others have made?
ALTER TABLE content ADD COLUMN imported BIGINT NOT NULL DEFAULT 0;

-- alone: is the content of this key only, whatever else has the same SHA-256?
ALTER TABLE source ADD COLUMN alone BIGINT NOT NULL DEFAULT 0;

-- Contents that do not count until somebody decides, and those that were decided to
-- count whatever they block. disable_until: what the content comes back to.
CREATE TABLE review (
	content       BIGINT PRIMARY KEY REFERENCES content (id) ON DELETE CASCADE,
	reason        TEXT NOT NULL,
	since         BIGINT NOT NULL,
	confirmed     BIGINT NOT NULL,
	disable_until BIGINT NOT NULL
);

-- What operators have decided about contents of one key, by each value that they were
-- known by, so that it holds when a list says them again. type: that of a signal or of
-- what is named; block: does it block whatever it blocks, or never?
CREATE TABLE decision (
	bank  BIGINT NOT NULL REFERENCES bank (id) ON DELETE CASCADE,
	type  TEXT NOT NULL,
	value BYTEA NOT NULL,
	block BIGINT NOT NULL,
	PRIMARY KEY (bank, type, value)
);

-- What contents without signals ban. item: the SHA-256 of an mxc URI, or empty;
-- servers: a pattern of names, or empty.
CREATE TABLE named (
	content BIGINT PRIMARY KEY REFERENCES content (id) ON DELETE CASCADE,
	item    BYTEA NOT NULL,
	servers TEXT NOT NULL
);

-- Banks whose contents are put into a room for others to read. bank: it may be gone,
-- and what is in the room must go then, too. name: what it was called when that began.
-- enabled: is anything to be in the room? If not, the row goes when nothing is.
CREATE TABLE publication (
	bank      BIGINT PRIMARY KEY,
	name      TEXT NOT NULL,
	room      TEXT NOT NULL UNIQUE,
	since     BIGINT NOT NULL,
	enabled   BIGINT NOT NULL,
	finished  BIGINT,
	problem   TEXT NOT NULL,
	published BIGINT NOT NULL
);
`}
