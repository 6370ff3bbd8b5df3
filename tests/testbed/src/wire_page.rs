//! What the embedded server must speak, row by row, and the tests that show it: the table of `docs/wire.md`.
//!
//! A test of `tests/it` holds every name to a test that runs, and every row to a test.

use std::fmt::Write as _;

/// What the server does, and the tests of `wire::` that show it.
#[derive(Debug)]
pub struct Row {
    /// Its number; rows are never renumbered.
    pub number: u8,
    /// What the server does.
    pub what: &'static str,
    /// Names of tests, without their `wire::`.
    pub tests: &'static [&'static str],
}

const fn row(number: u8, what: &'static str, tests: &'static [&'static str]) -> Row {
    Row { number, what, tests }
}

/// All rows.
pub const ROWS: &[Row] = &[
    row(
        1,
        "enums arrive as names or as numbers, in bodies and queries, and leave as the caller asked",
        &["keys::enums_are_names_or_numbers_both_ways"],
    ),
    row(
        2,
        "`$alt` and the other parameters of every method are tolerated",
        &["keys::enums_are_names_or_numbers_both_ways", "rust_client::a_key_lives_through_all_methods"],
    ),
    row(3, "bytes are base64 with padding, both ways", &["keys::bad_uploads_are_refused"]),
    row(
        4,
        "a project left open (`-`), unique ids, encoded addresses; what is missing is 404, or 403 where the project was left open",
        &[
            "accounts::unique_ids_and_encoded_addresses_find_accounts",
            "accounts::a_missing_account_is_404_or_403",
            "keys::missing_keys_and_accounts_are_told_apart",
        ],
    ),
    row(
        5,
        "account ids have a form and a length",
        &["accounts::malformed_requests_are_refused", "accounts::a_taken_address_is_a_typed_conflict"],
    ),
    row(
        6,
        "`updateMask` is needed; a patch answers with what it changed",
        &["accounts::patch_needs_a_mask_and_answers_partially"],
    ),
    row(
        7,
        "a deleted account comes back by its unique id for 30 days; one that is made again is another, and policies say so",
        &[
            "accounts::deleted_accounts_come_back_by_unique_id",
            "accounts::a_deleted_account_is_gone_for_good_after_30_days",
            "policies::members_follow_their_accounts",
        ],
    ),
    row(
        8,
        "ten keys, and both ways of saying that there are ten",
        &[
            "keys::the_limit_in_modern_words",
            "keys::the_limit_in_legacy_words",
            "durability::concurrent_creates_never_pass_the_limit",
        ],
    ),
    row(
        9,
        "real pairs with a self-signed certificate, as JSON and as PKCS#12, of 2048 and of 1024 bits",
        &["keys::a_key_is_real_and_its_file_points_at_the_server", "keys::pkcs12_files_and_1024_bits"],
    ),
    row(
        10,
        "an uploaded certificate is read, and its validity taken over",
        &["keys::an_uploaded_certificate_becomes_a_key", "keys::bad_uploads_are_refused"],
    ),
    row(
        11,
        "lists are filtered by type; keys of the system are among them",
        &["keys::lists_are_filtered_by_type", "keys::those_of_the_system_are_shown_and_left_alone"],
    ),
    row(
        12,
        "public halves on `get` only, and only when asked for",
        &["keys::public_data_only_on_get_and_when_asked"],
    ),
    row(
        13,
        "the token endpoint takes what real clients send, and refuses in Google's words",
        &[
            "tokens::audiences_of_all_clients_are_accepted",
            "tokens::a_token_without_kid_is_tried_against_all_enabled_keys",
            "tokens::times_must_be_short_and_of_now",
            "tokens::errors_are_those_of_google",
        ],
    ),
    row(
        14,
        "opaque tokens, and tokens that an account signs for itself",
        &[
            "bearers::opaque_tokens_outlive_their_key_but_not_their_account",
            "bearers::self_signed_tokens_are_accepted",
            "bearers::a_disabled_key_kills_its_self_signed_tokens_at_once",
        ],
    ),
    row(
        15,
        "public keys as certificates, as JWKs and bare",
        &["public_keys::all_forms_show_the_same_key", "public_keys::keys_that_do_not_count_vanish"],
    ),
    row(
        16,
        "policies with etags, versions and conditions; who comes second reads again",
        &[
            "policies::a_replacement_is_guarded_by_the_etag",
            "policies::conditions_are_seen_by_who_knows_them",
        ],
    ),
    row(
        17,
        "enabling a service is an operation that is done, or takes its time",
        &["services::enabling_is_a_finished_operation", "services::enabling_can_take_its_time"],
    ),
    row(
        18,
        "the metadata of a machine, tokens for those of another provider, tokens of an account one may speak for",
        &[
            "metadata::a_machine_has_an_account",
            "federation::a_pod_gets_a_token_by_its_own_and_may_do_what_is_bound_to_it",
            "federation::a_pod_speaks_for_an_account",
        ],
    ),
    row(
        19,
        "constraints on making and uploading keys, and on how long they last",
        &["constraints::what_is_forbidden_is_named", "constraints::keys_end_after_the_time_that_is_set"],
    ),
    row(
        20,
        "new accounts and keys that appear late, and faults on request",
        &[
            "accounts::a_new_one_can_be_late",
            "keys::lists_can_be_late",
            "faults::fail_answers_and_does_nothing",
            "faults::apply_then_drop_keeps_the_effect_and_loses_the_answer",
        ],
    ),
    row(
        21,
        "the REST API of Disruptive Technologies: accounts, keys, members, roles, permissions, tokens and basic auth, exact answers",
        &[
            "disruptive::accounts::every_success_is_200_with_a_document",
            "disruptive::accounts::pages_are_complete_and_any_token_is_taken",
            "disruptive::keys::a_secret_is_shown_once_and_outside_of_its_key",
            "disruptive::members::an_account_gets_a_role_another_one_and_none",
            "disruptive::access::managing_accounts_needs_an_administrator",
            "disruptive::tokens::assertions_of_all_clients_are_accepted",
            "disruptive::tokens::basic_auth_is_off_until_it_is_switched_on_and_off_at_once",
            "disruptive::errors::every_error_has_the_vendors_shape",
        ],
    ),
    row(
        22,
        "Earth Engine: its description, algorithms, a computation, the registration of a project",
        &[
            "earth_engine::it_describes_itself_to_everybody",
            "earth_engine::who_may_compute",
            "earth_engine::a_project_must_be_registered",
        ],
    ),
    row(23, "a log of all requests", &["secrecy::the_request_log_says_who_asked_for_what"]),
    row(24, "no private key, assertion or token in any log", &["secrecy::no_secret_is_logged_or_stored"]),
];

const BEGIN: &str = "<!-- Made by `make generate` from tests/testbed/src/wire_page.rs -->\n";
const END: &str = "<!-- end -->\n";

/// The page with its table as the rows are, or nothing where the table's place is not marked.
pub fn with_table(page: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", table()))
}

fn table() -> String {
    let mut table = String::from("| | what | tests |\n|---|---|---|\n");
    for row in ROWS {
        let tests: Vec<String> = row.tests.iter().map(|test| format!("`{test}`")).collect();
        // Writing to a string cannot fail.
        writeln!(table, "| {} | {} | {} |", row.number, row.what, tests.join(", ")).ok();
    }
    table
}
