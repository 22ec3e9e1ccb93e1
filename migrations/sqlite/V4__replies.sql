-- Calls that must not be done twice and were done, recorded by the transaction that did them: the next start tells a client that
-- repeats one what it came to. One row for a transaction: for each call the 16 bytes by which it is known, and the 16 bytes of the id of
-- what it has made, or zeros. Rows go after two minutes, in the order of their numbers.
CREATE TABLE replies (
    at    INTEGER NOT NULL,
    calls BLOB    NOT NULL
) STRICT;
