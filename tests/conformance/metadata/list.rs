//! Every case, by theme. `tests` makes tests of them.

macro_rules! tests {
    ($open:path; $($theme:ident { $($case:ident)* })*) => { $(
        mod $theme { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let opened = $open().await;
                crate::metadata::run(opened, crate::metadata::$theme::$case).await;
            }
        )* }
    )* };
}

/// What needs a store of its own.
macro_rules! own_cases {
    ($open:path) => {
        tests! { $open;
            lock_limits {
                an_owner_has_so_many_ranges_of_a_file
                a_client_has_so_many_locks
                a_client_has_so_many_waiters
                waiters_that_nobody_polls_for_go
                what_is_left_of_removed_files_goes
            }
        }
    };
}

/// What one caller at a time sees.
macro_rules! single_cases {
    ($open:path) => {
        tests! { $open;
            lookup {
                a_name_leads_to_its_object
                a_name_that_is_not_there_is_no_refusal
                names_are_bytes_and_their_case_counts
                names_of_255_bytes
                only_directories_have_names
                a_removed_directory_is_stale
                the_roots_parent_is_the_root
                the_parent_follows_a_move
                only_directories_have_parents
                another_shares_objects_are_stale
            }
            getattr {
                every_kind_reads_back_as_it_was_made
                what_never_was_is_stale
                a_removed_object_is_stale_at_once
                a_share_that_is_not_there_is_stale
                fileids_are_distinct_and_not_zero
            }
            create {
                a_new_file_is_empty_and_the_callers
                every_creation_changes_the_directory
                a_taken_name_is_refused
                unchecked_answers_with_the_file_that_is_there
                unchecked_finds_a_file_in_a_directory_that_is_not_writable
                unchecked_refuses_what_is_no_file
                a_new_file_takes_all_mode_bits_and_no_others
                the_superuser_makes_files_for_others
                callers_with_the_largest_numbers
                a_new_file_takes_the_callers_times
                a_setgid_directory_gives_its_group
                setgid_files_of_foreign_groups_are_not_made
                creating_needs_write_and_search_permission
                the_first_class_that_fits_decides
                objects_are_made_in_directories_only
            }
            setattr {
                each_attribute_is_set_by_itself
                every_kind_has_a_mode_an_owner_and_times
                mode_bits_beyond_the_twelve_are_ignored
                a_guard_must_equal_the_ctime
                a_size_of_zero_takes_new_content
                a_size_cuts_the_used_bytes
                used_bytes_without_content_are_the_size
                another_size_takes_a_new_version
                a_size_beyond_63_bits_is_too_large
                a_size_moves_mtime_unless_one_is_given
                only_regular_files_have_a_size_to_set
                all_is_set_or_nothing
                the_root_is_a_directory_like_others
                every_name_shows_the_change
            }
            permissions {
                only_the_owner_and_the_superuser_set_the_mode
                setgid_needs_membership
                only_the_superuser_gives_files_away
                the_owner_gives_a_file_to_own_groups
                chown_clears_the_set_id_bits
                clients_times_need_ownership
                the_servers_time_needs_write_permission
                a_size_needs_write_permission_or_ownership
                a_size_clears_the_set_id_bits_unless_the_superuser_sets_it
                sticky_directories_protect_entries
                removing_needs_write_and_search_permission
                renaming_needs_permission_on_the_target_too
                moving_a_directory_needs_write_permission_on_it
                linking_needs_the_directory_alone
            }
            mkdir {
                a_new_directory_is_empty_and_the_callers
                subdirectories_count_as_links_and_files_do_not
                directories_nest_deeply
                the_superuser_makes_directories_for_others
                one_name_in_many_directories
            }
            symlink {
                targets_are_any_bytes
                a_new_link_shows_mode_0777
                only_links_have_targets
                a_link_keeps_its_target_wherever_it_goes
            }
            mknod {
                device_numbers_come_back
                only_devices_have_device_numbers
                devices_are_made_by_the_superuser_alone
                other_kinds_are_no_nodes
                a_parent_that_is_no_directory_comes_first
            }
            remove {
                the_last_name_takes_the_object_along
                another_name_keeps_the_object
                the_present_content_is_freed
                what_is_not_there_is_not_found
                directories_are_removed_by_rmdir_alone
                an_empty_directory_goes
                a_directory_with_entries_stays
                a_directory_that_is_gone_is_stale
                a_name_can_be_made_anew_after_it
            }
            rename {
                every_kind_takes_another_name
                into_another_directory
                what_has_the_name_is_replaced
                a_replaced_object_with_other_names_stays
                two_names_of_one_object_stay_both
                the_entry_keeps_its_cookie
                a_replaced_entry_keeps_its_cookie
                what_is_not_there_is_not_found
                directories_on_both_sides
                names_of_any_bytes
                names_go_round
            }
            rename_directory {
                what_lies_below_moves_along
                not_into_itself_or_below
                elsewhere_in_the_tree
                over_an_empty_directory
                not_over_a_directory_with_entries
                a_child_over_its_parents_name_is_not_empty
                kinds_do_not_replace_each_other
                dot_dot_follows
            }
            link {
                every_kind_but_directories_takes_names
                directories_take_no_second_name
                a_taken_name_is_refused
                names_live_in_directories_only
                what_is_gone_is_stale_and_what_is_there_is_shown
                names_come_and_go_in_any_order
            }
            flush {
                size_and_times_are_recorded_as_given
                a_flush_never_shrinks
                a_flush_records_the_used_bytes_that_it_measured
                used_bytes_fit_the_size
                used_bytes_only_grow_beside_another_flush
                the_largest_size
                ctime_goes_beyond_what_is_there
                an_explicit_mtime_outlives_a_late_flush
                a_flush_may_move_mtime_back
                mode_bits_are_cleared
                a_truncate_supersedes_what_was_written_before
                a_superseded_flush_records_nothing
                an_atime_alone_changes_nothing_else
                a_flush_of_nothing_changes_nothing
                a_flush_asks_for_no_permission
                what_is_removed_is_stale
                zeroing_bumps_the_version_and_nothing_else
                only_one_zeroing_begins
                only_regular_files_have_content
                a_flush_finds_the_file_wherever_it_is
            }
            shares {
                a_new_share_has_the_root_that_was_asked_for
                a_share_is_made_once
                shares_are_apart
                the_list_names_every_share
                one_share_is_made_by_many
            }
            lock_order {
                the_oldest_waiter_is_first
                a_waiter_passes_those_that_are_in_the_way
                a_portion_of_waiters_is_tried_at_a_time
            }
            usage {
                a_new_share_has_its_root
                every_kind_counts_and_links_have_bytes
                used_bytes_count_as_they_come_and_go
                refused_and_superseded_changes_do_not_count
                further_names_cost_nothing
                what_goes_is_given_back
                what_is_replaced_is_given_back
                the_largest_answer
                more_than_can_be_said_is_given_back_to_the_byte
                shares_count_apart
            }
        }
    };
}

/// Where calls meet, or one relies on what another left: these also run between two instances.
macro_rules! meeting_cases {
    ($open:path) => {
        tests! { $open;
            exclusive {
                a_new_file_has_no_mode_and_ordinary_times
                a_repeat_succeeds_and_changes_nothing
                every_verifier_is_told_apart
                another_users_call_is_no_repeat
                a_repeat_succeeds_where_the_directory_closed_meanwhile
                other_creates_are_never_recognised
                other_creates_meet_the_file
                setattr_forgets_the_verifier
                a_refused_setattr_forgets_nothing
                a_flush_forgets_the_verifier
                link_forgets_the_verifier
                rename_forgets_the_verifier
                a_removed_file_is_made_anew
                a_replaced_file_takes_its_verifier_along
                a_change_of_owner_forgets_the_verifier
            }
            readdir {
                entries_show_their_objects
                pages_cover_every_entry_once
                a_page_of_nothing_says_whether_something_follows
                any_cookie_is_a_place
                a_scan_that_removes_as_it_goes
                changes_of_others_leave_the_place
                renamed_entries_are_seen_once
                cookies_are_never_used_again
                the_entry_at_the_cookie_may_go
                what_is_no_directory_is_refused
                the_store_asks_for_no_permission
                attributes_are_present_ones
                a_larger_directory
            }
            times {
                changes_of_a_directory_form_one_chain
                changes_of_a_file_form_one_chain
                ctime_is_the_calls_time_where_it_can_be
                explicit_times_are_obeyed
                an_entry_change_moves_mtime_whatever_was_set
                a_write_replaces_the_mtime_it_saw_and_no_newer_one
                server_times_of_a_call_are_equal
                what_happens_to_entries_objects_stays_there
                reading_moves_no_time
            }
            cancellation {
                a_cancelled_call_changes_nothing
                a_call_past_its_deadline_changes_nothing
                a_call_cancelled_under_way_is_done_or_not
                a_deadline_that_comes_under_way
                a_dropped_call_leaves_the_store_usable
                every_operation_is_cancelled_wherever_it_waits
                every_operation_is_dropped_wherever_it_waits
                callers_that_give_up_hold_nobody_up
            }
            race {
                one_of_many_creates_makes_the_file
                repeats_of_an_exclusive_create_find_one_file
                unchecked_creates_find_one_file
                a_name_is_removed_once
                a_create_meets_rmdir
                a_link_meets_the_removal_of_the_last_name
                the_last_two_names_go_at_once
                a_rename_meets_the_removal_of_its_target
                a_rename_meets_the_removal_of_its_source
                a_name_is_renamed_once
                renames_over_one_name_leave_one
                crossing_directory_renames_never_make_a_cycle
                rmdir_meets_a_rename_into_the_directory
                a_guard_lets_one_through
                creates_meet_a_directory_that_closes
                links_and_removals_of_one_object
                nobody_sees_a_state_before_one_that_was_seen
            }
            settings {
                a_setting_changes_from_what_was_seen_only
                one_setting_is_made_by_many
            }
            locks {
                an_unlock_splits_a_range
                neighbours_become_one
                another_kind_takes_the_place_of_its_range
                an_upgrade_is_all_or_nothing
                a_range_reaches_to_the_end
                owners_are_told_apart_by_all_they_have
                a_test_names_the_first_holder
                repeats_change_nothing
                a_removed_file_has_no_locks
                other_operations_do_not_look_at_locks
            }
            lock_waits {
                a_waiter_gets_its_lock
                waiters_take_turns
                readers_get_their_locks_together
                a_poll_confirms_a_reservation
                a_poll_may_be_sooner_than_the_callback
                a_refused_callback_lets_the_next_in
                a_cancel_takes_back_what_waits
                a_cancel_never_unlocks
                an_unlock_takes_back_waiters_of_its_range
                a_reservation_merges_when_it_is_confirmed
                two_that_wait_for_each_other
                three_that_wait_in_a_ring
                a_poll_looks_for_deadlocks_too
                a_reservation_is_handed_over
            }
            lock_clients {
                a_reboot_frees_what_was_before_it
                a_reboot_is_of_one_host
                a_client_frees_all_it_has
                many_files_of_a_client_are_freed
                share_reservations_exclude_each_other
                a_share_reservation_gives_way_to_its_own
                a_list_has_everything_once
                an_administrator_breaks_locks
                a_silent_client_is_freed_if_nobody_has_seen_it
                what_each_client_has_is_counted
            }
            lock_load {
                random_calls_are_answered_as_a_model_does
                two_owners_never_have_one_byte
            }
            load {
                creates_in_one_directory_form_one_chain
                every_kind_of_change_joins_the_chain
                changes_of_one_file_form_one_chain
                renames_both_ways_lose_nothing
                scans_during_changes
                anything_at_once_leaves_the_store_sound
            }
            model {
                random_operations_are_answered_as_in_memory
            }
        }
    };
}
