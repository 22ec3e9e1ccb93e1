-- A share with a directory, a directory in it, a file of two names, and a symbolic link; what slots count of them.
INSERT INTO shares (id, name, root, fsid, chunk_size)
VALUES (nextval('share_ids'), '/export', '01900000-0000-7000-8000-000000000001', 4711, 4194304);
INSERT INTO filesystem_capabilities
VALUES (1, 1048576, 1048576, 4096, 65536, 9223372036854775807, 1, 65000, 255);
INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, subdirs, parent_id, used)
VALUES ('01900000-0000-7000-8000-000000000001', 1, 2, 493, 0, 0, 4096, 100, 200, 300, 1, '01900000-0000-7000-8000-000000000001', 4096),
       ('01900000-0000-7000-8000-000000000002', 1, 2, 488, 7, 8, 4096, 100, 200, 300, 1, '01900000-0000-7000-8000-000000000001', 4096),
       ('01900000-0000-7000-8000-000000000003', 1, 2, 448, 7, 8, 4096, 100, 200, 300, 0, '01900000-0000-7000-8000-000000000002', 4096);
INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, content_id, content_version, used)
VALUES ('01900000-0000-7000-8000-000000000004', 1, 1, 416, 7, 8, 11, 100, 200, 300, '01900000-0000-7000-8000-0000000000c4', 3, 4096);
INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, link_target, used)
VALUES ('01900000-0000-7000-8000-000000000005', 1, 5, 511, 7, 8, 1, 100, 200, 300, 'f', 1);
INSERT INTO parent_child_map (parent_id, child_name, child_id)
VALUES ('01900000-0000-7000-8000-000000000001', 'd', '01900000-0000-7000-8000-000000000002'),
       ('01900000-0000-7000-8000-000000000001', 'g', '01900000-0000-7000-8000-000000000004'),
       ('01900000-0000-7000-8000-000000000002', 'f', '01900000-0000-7000-8000-000000000004'),
       ('01900000-0000-7000-8000-000000000002', 'l', '01900000-0000-7000-8000-000000000005'),
       ('01900000-0000-7000-8000-000000000002', 'sub', '01900000-0000-7000-8000-000000000003');
INSERT INTO link_counts VALUES ('01900000-0000-7000-8000-000000000004', 2);
INSERT INTO writer_slots (share_id, slot, epoch, files, bytes) VALUES (1, 0, 0, 5, 1), (1, 3, 0, 0, 4096);
