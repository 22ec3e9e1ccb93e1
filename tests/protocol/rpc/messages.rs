//! Headers: every refusal that RFC 5531 section 9 has.

use super::program::{BYTES, ECHO, GARBAGE, NULL, NUMBER, PANIC, PROCEDURES, TOO_WEAK, VERSION};
use super::{A_WHILE, Fixture, call};
use crate::client::{Auth, Call, Outcome, Writer};

async fn outcome(call: Call) -> Outcome {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let outcome = connection.call(call).await.outcome;
    // Whatever the answer was, the connection lives.
    connection.call(self::call(NULL)).await.results().end();
    outcome
}

#[tokio::test]
async fn null_answers() {
    assert_eq!(outcome(call(NULL)).await, Outcome::Success(Vec::new()));
}

#[tokio::test]
async fn results_come_back() {
    let echo = call(ECHO).arguments(Writer::new().u64(0x0123_4567_89ab_cdef));
    assert_eq!(
        outcome(echo).await,
        Outcome::Success(0x0123_4567_89ab_cdef_u64.to_be_bytes().to_vec())
    );
}

#[tokio::test]
async fn another_rpc_version_is_a_mismatch() {
    for rpc_version in [0, 1, 3, u32::MAX] {
        assert_eq!(
            outcome(Call { rpc_version, ..call(NULL) }).await,
            Outcome::RpcMismatch { low: 2, high: 2 }
        );
    }
}

#[tokio::test]
async fn the_rpc_version_is_looked_at_before_anything_else() {
    let wrong = Call { rpc_version: 3, ..Call::new(1, 1, 1) }.credentials(Auth::new(9, [1]));
    assert_eq!(outcome(wrong).await, Outcome::RpcMismatch { low: 2, high: 2 });
}

#[tokio::test]
async fn an_unknown_program_is_unavailable() {
    assert_eq!(outcome(Call::new(100_227, 3, 0)).await, Outcome::ProgramUnavailable);
    assert_eq!(outcome(Call::new(u32::MAX, 3, 0)).await, Outcome::ProgramUnavailable);
}

#[tokio::test]
async fn another_version_is_a_mismatch_with_low_and_high() {
    for version in [0, 2, 4, u32::MAX] {
        assert_eq!(
            outcome(Call::new(NUMBER, version, 0)).await,
            Outcome::ProgramMismatch { low: VERSION, high: VERSION }
        );
    }
}

#[tokio::test]
async fn an_unknown_procedure_is_unavailable() {
    for procedure in [PROCEDURES, u32::MAX] {
        assert_eq!(outcome(call(procedure)).await, Outcome::ProcedureUnavailable);
    }
}

#[tokio::test]
async fn arguments_that_do_not_decode_are_garbage() {
    assert_eq!(outcome(call(GARBAGE)).await, Outcome::GarbageArguments);
    assert_eq!(outcome(call(BYTES)).await, Outcome::GarbageArguments);
}

#[tokio::test]
async fn a_program_can_find_the_flavour_too_weak() {
    assert_eq!(outcome(call(TOO_WEAK)).await, Outcome::AuthError(5));
}

#[tokio::test]
async fn a_panic_is_a_system_error_and_harms_nobody_else() {
    assert_eq!(outcome(call(PANIC)).await, Outcome::SystemError);
}

#[tokio::test]
async fn auth_none_is_taken() {
    assert_eq!(outcome(call(NULL).credentials(Auth::none())).await, Outcome::Success(Vec::new()));
}

#[tokio::test]
async fn an_unknown_flavour_is_rejected_for_null_too() {
    // AUTH_SHORT, AUTH_DH, RPCSEC_GSS, AUTH_TLS, and one that nobody has.
    for flavor in [2, 3, 6, 7, u32::MAX] {
        let call = call(NULL).credentials(Auth::new(flavor, Vec::new()));
        assert_eq!(outcome(call).await, Outcome::AuthError(2), "flavour {flavor}");
    }
}

#[tokio::test]
async fn credentials_are_looked_at_before_the_program() {
    let call = Call::new(1, 1, 1).credentials(Auth::new(7, Vec::new()));
    assert_eq!(outcome(call).await, Outcome::AuthError(2));
}

#[tokio::test]
async fn auth_sys_is_taken_up_to_its_bounds() {
    let most = Auth::sys_with(&[b'm'; 255], u32::MAX, 4_294_967_294, &[7; 16]);
    assert_eq!(outcome(call(NULL).credentials(most)).await, Outcome::Success(Vec::new()));
}

#[tokio::test]
async fn auth_sys_beyond_its_bounds_is_bad() {
    let whole = Auth::sys(1, 2).body;
    let behind = [&whole[..], &[0; 4]].concat();
    let mut bad = vec![
        Auth::sys_with(&[b'm'; 256], 1, 1, &[]),
        Auth::sys_with(b"m", 1, 1, &[7; 17]),
        Auth::new(1, behind),
        Auth::new(1, Writer::new().u32(0).u32(u32::MAX)),
        Auth::new(1, Writer::new().u32(0).opaque(b"m").u32(1).u32(1).u32(u32::MAX)),
        Auth::new(1, [0; 404]),
    ];
    bad.extend((0..whole.len()).map(|length| Auth::new(1, &whole[..length])));
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    for auth in bad {
        let reply = connection.call(call(NULL).credentials(auth.clone())).await;
        assert_eq!(reply.outcome, Outcome::AuthError(1), "{auth:?}");
    }
}

#[tokio::test]
async fn lengths_in_the_header_claim_nothing() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    for length in [401, 1 << 20, 1 << 31, u32::MAX - 3, u32::MAX] {
        let credentials = call(NULL).credentials(Auth::sys(0, 0).claiming(length));
        assert_eq!(connection.call(credentials).await.outcome, Outcome::AuthError(1));
        let verifier = Call { verifier: Auth::none().claiming(length), ..call(NULL) };
        assert_eq!(connection.call(verifier).await.outcome, Outcome::AuthError(3));
    }
    // Within its bound, but longer than the record.
    let cut = Call { verifier: Auth::none().claiming(400), ..call(NULL) };
    assert_eq!(connection.call(cut).await.outcome, Outcome::AuthError(3));
}

#[tokio::test]
async fn a_reply_is_not_answered() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    connection.send(&Call { direction: 1, ..call(NULL) }).await;
    connection.silent_for(A_WHILE).await;
    connection.call(call(NULL)).await.results().end();
}

#[tokio::test]
async fn what_is_neither_call_nor_reply_ends_its_connection_only() {
    let fixture = Fixture::new().await;
    let mut other = fixture.connect().await;
    for direction in [2, u32::MAX] {
        let mut connection = fixture.connect().await;
        connection.send(&Call { direction, ..call(NULL) }).await;
        connection.closed().await;
    }
    // Too short for a reply to be addressed.
    let whole = call(NULL).encode(1);
    for length in 0..24 {
        let mut connection = fixture.connect().await;
        connection.send_record(&whole[..length]).await;
        connection.closed().await;
    }
    // From here on a reply can be addressed.
    other.send_record(&whole[..24]).await;
    assert_eq!(other.reply().await.outcome, Outcome::AuthError(1));
    other.call(call(NULL)).await.results().end();
}
