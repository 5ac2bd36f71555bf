//! Standard Webhooks, under secrets and a public key: what is taken shows a right signature over its id, its
//! time and its body, all of one set of headers.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use libfuzzer_sys::fuzz_target;
use tocsin_fuzz::{Input, NOW, SECRETS, TOLERANCE, encoded, genuine, is_now, mac, now, shows};
use tocsin_ingress::verify::{LiveSecret, Refusal, Verifier};
use tocsin_wire::scheme::{Encoding, Scheme};

const KEY: [u8; 32] = [7; 32];

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let key = SigningKey::from_bytes(&KEY);
    let public = format!("whpk_{}", STANDARD.encode(key.verifying_key().as_bytes()));
    let secrets = SECRETS.map(|secret| format!("whsec_{}", STANDARD.encode(secret)));
    let [none, first, second] = secrets.each_ref().map(|secret| LiveSecret::always(secret));
    let secrets = [none, first, second, LiveSecret::always(&public)];
    let verifier = Verifier::new(&Scheme::StandardWebhooks, &secrets).expect("a scheme");

    let standard = input.headers(&[]);
    let is_standard =
        standard.contains_key("webhook-signature") || standard.contains_key("webhook-id");
    let names = if is_standard {
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
    } else {
        ["svix-id", "svix-timestamp", "svix-signature"]
    };
    let (id, time) = (input.value(names[0]), input.value(names[1]));
    let right = Right::of(&key, id, time, input.body);
    let shown = right
        .0
        .each_ref()
        .map(|bytes| encoded(Encoding::Base64, bytes));
    let headers = input.headers(&[
        ("{mac}", &shown[0]),
        ("{other}", &shown[1]),
        ("{ed25519}", &shown[2]),
    ]);
    let verdict = verifier.verify(&headers, input.body, now(), TOLERANCE);
    if let Ok(position) = verdict {
        let signature = &right.0[position
            .checked_sub(1)
            .expect("no verdict under an empty secret")];
        assert!(
            shows(&headers, names[2], Encoding::Base64, signature),
            "taken without its signature"
        );
        assert!(
            is_now(time),
            "taken with a time that is none, or of another day"
        );
    }
    let again = verifier.verify(&headers, input.body, now(), TOLERANCE);
    assert_eq!(verdict, again);

    let at = NOW.to_string();
    let Right([_, mac, ed25519]) = Right::of(&key, b"msg_1", at.as_bytes(), input.body);
    let longer = [input.body, b"x"].concat();
    for (version, bytes, position) in [("v1", mac, 2), ("v1a", ed25519, 3)] {
        let value = format!("{version},{}", STANDARD.encode(bytes));
        let headers = genuine(&[(names[0], "msg_1"), (names[1], &at), (names[2], &value)]);
        assert_eq!(
            verifier.verify(&headers, input.body, now(), TOLERANCE),
            Ok(position)
        );
        let verdict = verifier.verify(&headers, &longer, now(), TOLERANCE);
        assert_eq!(verdict, Err(Refusal::BadSignature));
    }
});

/// The one right signature under each secret and the key, in the order of their positions.
struct Right([Vec<u8>; 3]);

impl Right {
    fn of(key: &SigningKey, id: &[u8], time: &[u8], body: &[u8]) -> Self {
        let parts = [id, b".", time, b".", body];
        let [_, first, second] = SECRETS.map(|secret| mac(secret.as_bytes(), &parts));
        let ed25519 = key.sign(&parts.concat()).to_bytes().to_vec();
        Self([first, second, ed25519])
    }
}
