//! Cases that every content store passes.
//!
//! A case is a function in one of the modules below that takes a fresh store. [`every_case`] names
//! each of them once and makes it a test of every store: `content::memory::<case>`,
//! `content::filesystem::<case>`.

mod bounds;
mod cancelling;
mod concurrent;
mod copies;
mod data_extents;
mod footprints;
mod given_up;
mod lengths;
mod listing;
mod model;
mod presence;
mod ranges;
mod support;

mod filesystem_only;
mod full_disk;
mod identity;
mod memory_only;

/// The tests of one store; `$open` makes a [`support::Fixture`].
macro_rules! tests {
    ($open:path; $($area:ident: $($case:ident),+ $(,)?;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture = $open().await;
                let case = crate::content::$area::$case(&*fixture.store);
                tokio::time::timeout(crate::content::support::CASE_LIMIT, case)
                    .await
                    .expect("the case ends in time");
            }
        )+)+
    };
}

macro_rules! every_case {
    ($open:path) => {
        tests! { $open;
            presence:
                what_was_never_written_is_missing,
                a_hole_is_not_missing,
                a_write_makes_the_content,
                a_write_of_nothing_makes_the_content,
                a_truncate_makes_the_content,
                what_was_removed_is_missing,
                a_removed_content_can_be_made_again,
                removing_what_is_missing_is_no_error,
                committing_what_is_missing_is_no_error,
                committing_what_was_removed_is_no_error,
                committing_changes_nothing,
                contents_are_apart;
            ranges:
                pages_are_what_a_read_gives,
                a_read_gives_what_was_written,
                a_write_replaces_its_range_alone,
                a_write_past_the_end_leaves_zeros,
                a_read_across_the_end_is_short,
                a_read_past_the_end_is_empty,
                a_read_of_nothing_is_empty,
                a_write_of_nothing_leaves_the_length,
                writes_across_blocks_read_whole,
                holes_between_writes_are_zeros,
                every_byte_value_survives,
                the_last_write_of_a_range_stays;
            lengths:
                the_length_is_the_furthest_write,
                a_truncate_cuts,
                a_truncate_extends_with_zeros,
                a_truncate_to_the_same_length_changes_nothing,
                what_was_cut_never_comes_back,
                a_cut_within_a_block_never_comes_back,
                a_write_past_a_cut_shows_zeros_between,
                a_truncate_to_nothing_leaves_empty_content;
            bounds:
                offsets_beyond_4_gib_are_apart,
                an_extended_length_beyond_4_gib_is_all_zeros,
                a_write_beyond_the_largest_offset_is_too_large,
                a_truncate_beyond_the_largest_offset_is_too_large,
                a_refused_write_changes_nothing,
                a_read_at_the_largest_offset_is_empty,
                capacity_is_consistent;
            listing:
                an_empty_store_lists_nothing,
                ids_are_listed_in_order,
                pages_cover_every_id_once,
                a_page_starts_after_what_need_not_be_there,
                a_page_of_nothing_is_empty,
                removed_ids_are_not_listed;
            footprints:
                a_footprint_is_of_what_is_there,
                every_change_makes_content_younger,
                holes_take_nothing,
                allocated_bytes_are_those_that_were_written;
            data_extents:
                what_was_written_lies_in_a_region,
                holes_lie_in_none,
                what_is_missing_has_no_regions;
            copies:
                an_extension_cuts_nothing,
                an_extension_adds_zeros,
                extensions_and_writes_run_together,
                a_copy_has_the_first_bytes,
                a_copy_has_the_holes,
                a_copy_of_too_little_says_so;
            concurrent:
                writers_of_different_ranges_do_not_disturb_each_other,
                writers_of_different_contents_do_not_disturb_each_other,
                growing_writers_lose_no_bytes,
                commits_and_writes_run_together,
                readers_see_a_write_that_returned,
                removing_under_writers_leaves_one_or_the_other;
            cancelling:
                a_cancelled_call_does_nothing,
                a_call_past_its_deadline_does_nothing,
                a_write_cancelled_on_its_way_is_there_or_not,
                a_dropped_call_leaves_the_content_usable;
            given_up:
                every_operation_is_cancelled_wherever_it_waits,
                every_operation_is_dropped_wherever_it_waits;
            model:
                random_operations_match_a_vector;
        }
    };
}

mod memory {
    every_case!(crate::content::support::memory);
}

mod filesystem {
    every_case!(crate::content::support::filesystem);
}

mod object {
    every_case!(crate::content::support::object);
}

/// The object store with chunks of one page and hardly any memory: every case with many chunks and writers
/// that wait.
mod object_crowded {
    every_case!(crate::content::support::object_crowded);
}

/// The file system store with room for two descriptors: every case under eviction.
mod filesystem_crowded {
    every_case!(crate::content::support::filesystem_crowded);
}
