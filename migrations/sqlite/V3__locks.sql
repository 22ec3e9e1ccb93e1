-- Byte-range locks and share reservations of NLM clients. The server keeps all of them in memory (src/metadata/locks/table)
-- and reads these rows when it opens the file, or when another process has written to it. Rows of removed files stay until
-- somebody looks for them (LockTable::to_search).

-- A client: its address, the caller_name of its calls, the address of the server that they came to. Times are nanoseconds
-- since 1970.
CREATE TABLE lock_clients (
    id          INTEGER PRIMARY KEY,
    address     TEXT    NOT NULL,
    caller_name BLOB    NOT NULL CHECK (length(caller_name) <= 1024),
    server      TEXT    NOT NULL,
    seen        INTEGER NOT NULL
) STRICT;

-- What is held. Rows of one owner and file do not overlap.
CREATE TABLE locks (
    file_id   BLOB    NOT NULL CHECK (length(file_id) = 16),
    client_id INTEGER NOT NULL,
    svid      INTEGER NOT NULL,
    first     INTEGER NOT NULL CHECK (first >= 0),
    last      INTEGER NOT NULL,
    exclusive INTEGER NOT NULL CHECK (exclusive IN (0, 1)),
    oh        BLOB    NOT NULL CHECK (length(oh) <= 1024),
    state     INTEGER NOT NULL,
    since     INTEGER NOT NULL,
    PRIMARY KEY (file_id, client_id, svid, first),
    CHECK (first <= last)
) STRICT, WITHOUT ROWID;

-- What waits; with a cookie it has got the lock, and the client does not know yet.
CREATE TABLE lock_waiters (
    file_id   BLOB    NOT NULL CHECK (length(file_id) = 16),
    client_id INTEGER NOT NULL,
    svid      INTEGER NOT NULL,
    first     INTEGER NOT NULL CHECK (first >= 0),
    last      INTEGER NOT NULL,
    exclusive INTEGER NOT NULL CHECK (exclusive IN (0, 1)),
    oh        BLOB    NOT NULL CHECK (length(oh) <= 1024),
    state     INTEGER NOT NULL,
    handle    BLOB    NOT NULL CHECK (length(handle) <= 1024),
    version   INTEGER NOT NULL,
    transport TEXT    NOT NULL CHECK (transport IN ('tcp', 'udp')),
    local     TEXT    NOT NULL,
    instance  BLOB    NOT NULL CHECK (length(instance) = 16),
    since     INTEGER NOT NULL,
    seen      INTEGER NOT NULL,
    cookie    BLOB    CHECK (length(cookie) = 16),
    PRIMARY KEY (file_id, client_id, svid, first, last, exclusive),
    CHECK (first <= last)
) STRICT, WITHOUT ROWID;

-- Share reservations: what others may not do (mode), what the client does (access); 1 reads, 2 writes, 3 both.
CREATE TABLE lock_shares (
    file_id   BLOB    NOT NULL CHECK (length(file_id) = 16),
    client_id INTEGER NOT NULL,
    oh        BLOB    NOT NULL CHECK (length(oh) <= 1024),
    mode      INTEGER NOT NULL CHECK (mode BETWEEN 0 AND 3),
    access    INTEGER NOT NULL CHECK (access BETWEEN 0 AND 3),
    since     INTEGER NOT NULL,
    PRIMARY KEY (file_id, client_id, oh)
) STRICT, WITHOUT ROWID;
