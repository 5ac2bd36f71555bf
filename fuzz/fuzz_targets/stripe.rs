//! Stripe's header, `t=…,v1=…`: what is taken has one time, within the tolerance, and a right MAC over it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tocsin_fuzz::{Input, NOW, SECRETS, TOLERANCE, encoded, genuine, is_now, mac, now, shows};
use tocsin_ingress::verify::{LiveSecret, Refusal, Verifier};
use tocsin_wire::scheme::{Encoding, Scheme};

const HEADER: &str = "stripe-signature";

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let scheme = Scheme::Stripe {
        header: HEADER.into(),
    };
    let verifier = Verifier::new(&scheme, &SECRETS.map(LiveSecret::always)).expect("a scheme");
    let body = input.body;
    let time = time(input.value(HEADER));
    let [_, first, second] = SECRETS.map(|secret| mac(secret.as_bytes(), &[time, b".", body]));
    let [shown, other] = [&first, &second].map(|mac| encoded(Encoding::Hex, mac));

    let headers = input.headers(&[("{mac}", &shown), ("{other}", &other)]);
    let verdict = verifier.verify(&headers, body, now(), TOLERANCE);
    if let Ok(position) = verdict {
        let mac = [None, Some(&first), Some(&second)][position]
            .expect("no verdict under an empty secret");
        assert!(
            shows(&headers, HEADER, Encoding::Hex, mac),
            "taken without its MAC"
        );
        assert!(
            is_now(time),
            "taken with a time that is none, or of another day"
        );
    }
    let again = verifier.verify(&headers, body, now(), TOLERANCE);
    assert_eq!(verdict, again);

    let at = NOW.to_string();
    let right = mac(SECRETS[2].as_bytes(), &[at.as_bytes(), b".", body]);
    let value = format!("t={at},v1={}", encoded(Encoding::Hex, &right));
    let headers = genuine(&[(HEADER, &value)]);
    assert_eq!(verifier.verify(&headers, body, now(), TOLERANCE), Ok(2));
    let longer = [body, b"x"].concat();
    let verdict = verifier.verify(&headers, &longer, now(), TOLERANCE);
    assert_eq!(verdict, Err(Refusal::BadSignature));
});

/// What stands behind the first `t=`.
fn time(value: &[u8]) -> &[u8] {
    let mut entries = value.split(|at| *at == b',');
    entries
        .find_map(|entry| entry.trim_ascii().strip_prefix(b"t="))
        .unwrap_or_default()
}
