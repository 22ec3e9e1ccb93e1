-- Removes the functions that every operation calls. No data is lost, and V2 makes them again; until then no server starts.
DROP FUNCTION
    begin_zeroing, record_write, set_attributes, rename_entry, lies_under, link_object, remove_directory, remove_name,
    drop_name, make_object, open_share, settle, claim_slot, finish, bytes_of, holds, edge_now, object_now, refuse;
DROP TYPE answer;
