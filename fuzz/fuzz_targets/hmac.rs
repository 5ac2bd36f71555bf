//! HMAC in a header, as each known provider has it and as sources may be configured: nothing is taken that
//! a second implementation would not have signed, and what it signs is always taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tocsin_fuzz::{Input, NOW, SECRETS, TOLERANCE, encoded, genuine, is_now, mac, now, shows};
use tocsin_ingress::provider;
use tocsin_ingress::verify::{LiveSecret, Refusal, Verifier};
use tocsin_wire::scheme::{Encoding, HmacScheme, Scheme, SignedTime};

/// Those of the table, and what only a source can have.
fn schemes() -> Vec<HmacScheme> {
    let known = provider::ALL.iter().flat_map(|provider| provider.schemes);
    let known = known.filter_map(|scheme| match scheme {
        Scheme::Hmac(scheme) => Some(scheme.clone()),
        _ => None,
    });
    let base64 = HmacScheme {
        encoding: Encoding::Base64,
        ..HmacScheme::over_body("x-base64", "")
    };
    let timed_list = HmacScheme {
        separator: Some(';'),
        timestamp: Some(SignedTime {
            header: "x-time".into(),
            before: "".into(),
            after: ".".into(),
        }),
        ..HmacScheme::over_body("x-list", "v9:")
    };
    known.chain([base64, timed_list]).collect()
}

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let scheme = &input.choose(schemes(), |scheme| scheme.header.to_ascii_lowercase());
    let secrets = SECRETS.map(LiveSecret::always);
    let verifier = Verifier::new(&Scheme::Hmac(scheme.clone()), &secrets).expect("a scheme");
    let body = input.body;
    let time = scheme
        .timestamp
        .as_ref()
        .map(|time| input.value(&time.header));
    let [_, first, second] = SECRETS.map(|secret| sign(scheme, secret, time, body));
    let [shown, other] = [&first, &second].map(|mac| encoded(scheme.encoding, mac));

    let headers = input.headers(&[("{mac}", &shown), ("{other}", &other)]);
    let verdict = verifier.verify(&headers, body, now(), TOLERANCE);
    if let Ok(position) = verdict {
        let mac = [None, Some(&first), Some(&second)][position]
            .expect("no verdict under an empty secret");
        assert!(
            shows(&headers, &scheme.header, scheme.encoding, mac),
            "taken without its MAC"
        );
        assert!(
            time.is_none_or(is_now),
            "taken with a time that is none, or of another day"
        );
    }
    let again = verifier.verify(&headers, body, now(), TOLERANCE);
    assert_eq!(verdict, again);

    let at = NOW.to_string();
    let time = scheme.timestamp.as_ref().map(|_| at.as_bytes());
    let value = format!(
        "{}{}",
        scheme.prefix,
        encoded(scheme.encoding, &sign(scheme, SECRETS[2], time, body))
    );
    let mut pairs = vec![(scheme.header.as_ref(), value.as_str())];
    pairs.extend(
        scheme
            .timestamp
            .as_ref()
            .map(|time| (time.header.as_ref(), at.as_str())),
    );
    let headers = genuine(&pairs);
    assert_eq!(verifier.verify(&headers, body, now(), TOLERANCE), Ok(2));
    let longer = [body, b"x"].concat();
    let verdict = verifier.verify(&headers, &longer, now(), TOLERANCE);
    assert_eq!(verdict, Err(Refusal::BadSignature));
});

fn sign(scheme: &HmacScheme, secret: &str, time: Option<&[u8]>, body: &[u8]) -> Vec<u8> {
    match (&scheme.timestamp, time) {
        (Some(signed), Some(time)) => {
            let parts = [
                signed.before.as_bytes(),
                time,
                signed.after.as_bytes(),
                body,
            ];
            mac(secret.as_bytes(), &parts)
        }
        _ => mac(secret.as_bytes(), &[body]),
    }
}
