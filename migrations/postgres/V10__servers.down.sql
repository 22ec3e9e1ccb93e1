-- Where the servers are that use the database, and what their clocks say. No data is lost.
ALTER TABLE instances DROP COLUMN pid, DROP COLUMN address, DROP COLUMN seen, DROP COLUMN ahead;
