-- The bytes that a file takes on its content store (fattr3.used, RFC 1813 section 2.5): less than the size where it has holes.
-- A file that was there already is recorded with its size in whole blocks of 4096 bytes, the most that it can take, until its next
-- flush. The counters of a share follow: they sum up `used` in place of sizes.

ALTER TABLE files ADD COLUMN used INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0);
UPDATE files
   SET used = CASE WHEN file_type <> 1 THEN size
                   WHEN size > 9223372036854771712 THEN 9223372036854775807
                   ELSE (size + 4095) / 4096 * 4096 END
 WHERE size > 0;

DROP VIEW objects;
CREATE VIEW objects AS
SELECT f.id, f.share_id, f.fileid, f.file_type, f.mode,
       CASE WHEN f.file_type = 2 THEN 2 + f.subdirs
            ELSE COALESCE((SELECT l.link_count FROM link_counts l WHERE l.file_id = f.id), 1)
       END AS nlink,
       f.uid, f.gid, f.size, f.atime, f.mtime, f.ctime, f.rdev, f.content_id, f.content_version, f.mtime_version,
       f.parent_id, f.create_verifier, f.link_target, f.used
  FROM files f;

-- The sum may need more than 63 bits: it is taken in two halves of 31 bits, then cut where bytes_high counts 2^62.
WITH halves AS (
    SELECT share_id, sum(used >> 31) AS upper, sum(used & 2147483647) AS lower
      FROM files WHERE file_type IN (1, 5) GROUP BY share_id
),
sums AS (
    SELECT share_id, upper + (lower >> 31) AS upper, lower & 2147483647 AS lower FROM halves
)
UPDATE share_usage AS u
   SET bytes_high = COALESCE((SELECT upper >> 31 FROM sums s WHERE s.share_id = u.share_id), 0),
       bytes_low = COALESCE((SELECT (upper & 2147483647) << 31 | lower FROM sums s WHERE s.share_id = u.share_id), 0);
