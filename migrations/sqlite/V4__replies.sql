-- Calls that must not be done twice and were done, each recorded by its own transaction: the next start tells a client that repeats
-- one what it came to. Rows go after two minutes, in the order of their numbers.
CREATE TABLE replies (
    key  BLOB    NOT NULL,
    made BLOB,
    at   INTEGER NOT NULL
) STRICT;
