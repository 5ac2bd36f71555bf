//! Secrets in a header, bare, as `Bearer` and as `Basic`: only the whole secret opens, whatever stands around it.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use tocsin_fuzz::{Input, SECRETS, TOLERANCE, genuine, now};
use tocsin_ingress::verify::{LiveSecret, Refusal, Verifier};
use tocsin_wire::scheme::Scheme;

const HEADER: &str = "x-token";

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let variants = vec![
        ("header", Scheme::token(HEADER), HEADER),
        ("bearer", Scheme::Bearer, "authorization"),
        ("basic", Scheme::Basic, "authorization"),
    ];
    let (_name, scheme, header) = input.choose(variants, |(name, ..)| (*name).to_owned());
    let verifier = Verifier::new(&scheme, &SECRETS.map(LiveSecret::always)).expect("a scheme");
    let [_, first, second] = SECRETS.map(|secret| match scheme {
        Scheme::Basic => STANDARD.encode(secret),
        _ => secret.to_owned(),
    });

    let headers = input.headers(&[("{mac}", &first), ("{other}", &second)]);
    let verdict = verifier.verify(&headers, input.body, now(), TOLERANCE);
    if let Ok(position) = verdict {
        let secret = [None, Some(&first), Some(&second)][position]
            .expect("no verdict under an empty secret");
        let values: Vec<_> = headers.get_all(header).iter().collect();
        let [value] = values[..] else {
            panic!("taken from {} headers", values.len());
        };
        // `Bearer` or `Basic`, of any case, and whitespace are all that may stand before it.
        let name = if header == HEADER {
            0
        } else {
            value.len() - value.as_bytes().trim_ascii_end().len()
        };
        let shown = &value.as_bytes()[..value.len() - name];
        let shown = if matches!(scheme, Scheme::Basic) {
            without_padding(shown)
        } else {
            shown
        };
        assert!(
            shown.ends_with(without_padding(secret.as_bytes())),
            "taken without its secret"
        );
        assert!(
            shown.len() <= secret.len() + 4096,
            "taken from more than is looked at"
        );
    }
    let again = verifier.verify(&headers, input.body, now(), TOLERANCE);
    assert_eq!(verdict, again);

    for (shown, expected) in [
        (second.as_str(), Ok(2)),
        (
            &STANDARD.encode("the second secreT"),
            Err(Refusal::WrongToken),
        ),
    ] {
        let value = match scheme {
            Scheme::Bearer => format!("bearer {shown}"),
            Scheme::Basic => format!("Basic {shown}"),
            _ => shown.to_owned(),
        };
        let headers = genuine(&[(header, &value)]);
        assert_eq!(
            verifier.verify(&headers, input.body, now(), TOLERANCE),
            expected
        );
    }
});

fn without_padding(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b'=');
    &text[..end.map_or(0, |end| end + 1)]
}
