-- Destroys the namespace: every share, name, attribute and link of every file. The content stores keep the files' bytes, but
-- nothing says any more which file they belong to.
DROP VIEW objects;
DROP TABLE writer_slots, link_counts, parent_child_map, files, server_config, filesystem_capabilities, shares;
DROP TYPE object;
DROP SEQUENCE writer_epochs, share_ids, cookies, fileids;
