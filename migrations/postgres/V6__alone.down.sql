-- A server that holds the lease cannot write without these. No data is lost: the table has the numbers of batches that were written.
DROP FUNCTION apply_rows, settle_alone;
DROP TABLE writers;
