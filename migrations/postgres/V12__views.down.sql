-- The views for administrators, and what roles were granted on them. No data is lost.
DROP VIEW trunkfs_files, trunkfs_entries, trunkfs_objects, trunkfs_usage, trunkfs_shares;
DROP FUNCTION trunkfs_text(bytea), trunkfs_time(bigint), trunkfs_type(smallint);
