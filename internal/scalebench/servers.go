package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peer is a server that mediagate uses. It does not outlive this program.
type peer struct {
	cmd  *exec.Cmd
	dir  string
	port string
	last syscall.Signal // ends it
}

// comesUp is when a peer that does not answer is given up.
const comesUp = time.Minute

// launch starts a peer and waits until it answers. What it says goes to a file in its
// folder.
func (p *peer) launch(ctx context.Context, cmd *exec.Cmd, answers func() error) error {
	name := filepath.Base(cmd.Path)
	said := filepath.Join(p.dir, "log")
	out, err := os.OpenFile(said, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // the server has its own
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = p.last
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p.cmd = cmd
	for deadline := time.Now().Add(comesUp); ; {
		err := answers()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			p.end()
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(said) // or there is less to tell
			p.end()
			return fmt.Errorf("%s does not answer: %w: %s", name, err, log)
		}
	}
}

// end ends a peer and leaves its folder.
func (p *peer) end() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(p.last) // it may have ended
	_ = p.cmd.Wait()                 // how does not matter
	p.cmd = nil
}

func freePort() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// postgres returns a PostgreSQL server, which all parts share, as it is installed.
func (b *bench) postgres(ctx context.Context) (*peer, error) {
	if b.database != nil {
		return b.database, nil
	}
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	p := &peer{last: syscall.SIGINT, dir: filepath.Join(b.folder(), "postgres")}
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	attributes := func() *syscall.SysProcAttr { return nil }
	if os.Getuid() == 0 { // as whom PostgreSQL refuses to run
		owner, err := ownerOf("postgres")
		if err != nil {
			return nil, err
		}
		if err := errors.Join(os.Chown(p.dir, int(owner.Uid), int(owner.Gid)), os.Chmod(b.folder(), 0o711)); err != nil {
			return nil, err
		}
		attributes = func() *syscall.SysProcAttr { return &syscall.SysProcAttr{Credential: owner} }
	}
	data := filepath.Join(p.dir, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		initdb := exec.CommandContext(ctx, filepath.Join(programs, "initdb"), "--no-sync", "-D", data, "-U", "mediagate", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8")
		initdb.Dir, initdb.SysProcAttr = p.dir, attributes()
		if said, err := initdb.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("initdb: %w: %s", err, said)
		}
	}
	server := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(programs, "postgres"), "-D", data, "-p", p.port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_wal_size=8GB")
	server.SysProcAttr = attributes()
	if err := p.launch(ctx, server, func() error { return p.execute(ctx, "postgres", "SELECT 1") }); err != nil {
		return nil, err
	}
	b.database = p
	return p, nil
}

// url names a database of a PostgreSQL server.
func (p *peer) url(database string) string {
	return "postgres://mediagate@127.0.0.1:" + p.port + "/" + database
}

// execute runs statements in a database of a PostgreSQL server.
func (p *peer) execute(ctx context.Context, database string, statements ...string) (err error) {
	db, err := sql.Open("pgx", p.url(database))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return execAll(ctx, db, statements...)
}

// postgresPrograms returns the folder with them. Debian keeps those of the server
// where only their wrappers look.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path) // the others are beside it
		return filepath.Dir(path), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("initdb, of PostgreSQL, is not found"), err)
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func ownerOf(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// redis returns a Redis server that keeps nothing on disk.
func (b *bench) redis(ctx context.Context) (*peer, error) {
	p := &peer{last: syscall.SIGKILL}
	var err error
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp(b.dir, "redis"); err != nil {
		return nil, err
	}
	return p, p.startRedis(ctx)
}

// startRedis starts a Redis, or starts it again, empty, where it was.
func (p *peer) startRedis(ctx context.Context) error {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, "--bind", "127.0.0.1", "--port", p.port, "--dir", p.dir, "--save", "", "--appendonly", "no")
	return p.launch(ctx, cmd, func() error {
		answer, err := p.command(ctx, "PING")
		if err == nil && answer != "+PONG" {
			err = errors.New(answer)
		}
		return err
	})
}

// withRedis adds what mediagate needs to use a Redis.
func (b *bench) withRedis(r *peer, env ...string) ([]string, error) {
	key := filepath.Join(r.dir, "key")
	if err := os.WriteFile(key, []byte("a key that only this measurement knows\n"), 0o600); err != nil {
		return nil, err
	}
	return append(env, "MEDIAGATE_REDIS_URL=redis://127.0.0.1:"+r.port+"/0", "MEDIAGATE_REDIS_KEY_FILE="+key), nil
}

// command asks Redis something that has an answer of one line.
func (p *peer) command(ctx context.Context, command string) (answer string, err error) {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", "127.0.0.1:"+p.port)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprint(c, command, "\r\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}
