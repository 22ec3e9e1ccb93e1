-- Takes away the batches of several servers. No file or name is lost; what became of a call under way is not known any more.

DROP FUNCTION run_batch, settle_batch;
ALTER TABLE writer_slots DROP COLUMN last_results;
