use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::{KeyAlgorithm, OctetKeyParameters, OctetKeyType};
use serde_json::json;

use super::*;
use crate::identity::settings::IdentitySettings;

const RSA: &[u8] = include_bytes!("../../../tests/fixtures/test-only-keys/rsa-1.der");
const OTHER_RSA: &[u8] = include_bytes!("../../../tests/fixtures/test-only-keys/rsa-2.der");
const SHORT_RSA: &[u8] = include_bytes!("../../../tests/fixtures/test-only-keys/rsa-short.der");
const CURVE: &[u8] = include_bytes!("../../../tests/fixtures/test-only-keys/ec-p256.der");

fn settings(flags: &[&str]) -> OidcSettings {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        identity: IdentitySettings,
    }
    let fixed = [
        "test",
        "--oidc-issuer",
        "https://idp",
        "--oidc-audience",
        "us",
    ];
    let flags = fixed.iter().chain(flags);
    let parsed: Flags = clap::Parser::try_parse_from(flags).expect("flags");
    parsed.identity.oidc
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, id: &str) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).expect("key");
    jwk.common.key_id = Some(id.to_owned());
    jwk
}

fn signed(key: &EncodingKey, algorithm: Algorithm, id: Option<&str>) -> (String, Header) {
    let mut header = Header::new(algorithm);
    header.kid = id.map(str::to_owned);
    let text = jsonwebtoken::encode(&header, &json!({"sub":"ada"}), key).expect("signs");
    (text, header)
}

#[test]
fn only_an_accepted_algorithm_under_its_own_kind_of_key_passes() {
    let rsa = EncodingKey::from_rsa_der(RSA);
    let other = EncodingKey::from_rsa_der(OTHER_RSA);
    let short = EncodingKey::from_rsa_der(SHORT_RSA);
    let curve = EncodingKey::from_ec_der(CURVE);
    let mut for_encryption = jwk(&rsa, Algorithm::RS256, "enc");
    for_encryption.common.public_key_use = Some(PublicKeyUse::Encryption);
    let mut says_otherwise = jwk(&rsa, Algorithm::RS256, "pss");
    says_otherwise.common.key_algorithm = Some(KeyAlgorithm::PS256);
    let mut shared = jwk(&rsa, Algorithm::RS256, "shared");
    shared.common.key_algorithm = None;
    shared.algorithm = AlgorithmParameters::OctetKey(OctetKeyParameters {
        key_type: OctetKeyType::Octet,
        value: "c2VjcmV0".to_owned(),
    });
    let keys = JwkSet {
        keys: vec![
            jwk(&rsa, Algorithm::RS256, "rsa"),
            jwk(&short, Algorithm::RS256, "short"),
            jwk(&curve, Algorithm::ES256, "ec"),
            for_encryption,
            says_otherwise,
            shared,
        ],
    };
    // An attacker signs with what everybody knows, the public key, as if it were a secret.
    let confused = EncodingKey::from_secret(b"secret");
    let (rs, es, hs) = (Algorithm::RS256, Algorithm::ES256, Algorithm::HS256);
    let both = [rs, es];
    let unknown = || Err(BadToken::UnknownKey("gone".to_owned()));
    for (key, algorithm, id, accepted, expected) in [
        (&rsa, rs, Some("rsa"), &both[..], Ok(())),
        (&curve, es, Some("ec"), &both, Ok(())),
        (&curve, es, Some("ec"), &[rs], Err(BadToken::Algorithm)),
        (&other, rs, Some("rsa"), &both, Err(BadToken::Signature)),
        (&rsa, rs, Some("ec"), &both, Err(BadToken::Key)),
        (&curve, es, Some("rsa"), &both, Err(BadToken::Key)),
        (&short, rs, Some("short"), &both, Err(BadToken::Key)),
        (&rsa, rs, Some("enc"), &both, Err(BadToken::Key)),
        (&rsa, rs, Some("pss"), &both, Err(BadToken::Key)),
        (&rsa, rs, Some("gone"), &both, unknown()),
        (&rsa, rs, None, &both, Err(BadToken::NoKeyId)),
        (&rsa, rs, Some(""), &both, Err(BadToken::NoKeyId)),
        (&confused, hs, Some("rsa"), &both, Err(BadToken::Algorithm)),
        (
            &confused,
            hs,
            Some("shared"),
            &both,
            Err(BadToken::Algorithm),
        ),
        (&rsa, rs, Some("shared"), &both, Err(BadToken::Key)),
    ] {
        let (text, header) = signed(key, algorithm, id);
        let opened = open(&text, &header, &keys, accepted).map(drop);
        assert_eq!(opened, expected, "{algorithm:?} {id:?}");
    }
}

#[test]
fn a_token_that_demands_unknown_extensions_is_refused() {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("rsa".to_owned());
    assert_eq!(key_id(&header, &[Algorithm::RS256]), Ok("rsa".to_owned()));
    header.crit = Some(vec!["x".to_owned()]);
    assert_eq!(
        key_id(&header, &[Algorithm::RS256]),
        Err(BadToken::Critical)
    );
}

#[test]
fn claims_say_who_it_is() {
    let settings = settings(&[
        "--oidc-groups-claim",
        "realm.roles",
        "--oidc-admin-group",
        "admins",
        "--admin-permissions-default",
        "admin:config:read",
        "--admin-group-permissions-json",
        r#"{"ops":["admin:tokens","admin:config:read"],"admins":["admin:audit"]}"#,
    ]);
    let read = |value: Value| person(value.as_object().expect("object"), &settings);
    let team = read(json!({"sub":"ada","email":"a@x","org_id":"acme","team_node_id":"sre"}))
        .expect("a person");
    assert_eq!(
        (team.org, team.team, team.admin, team.email.as_deref()),
        (
            OrgId::new("acme").ok(),
            TeamId::new("sre").ok(),
            None,
            Some("a@x")
        )
    );
    let admin = read(json!({"sub":"bob","realm":{"roles":["ops","admins","else"]}}));
    let admin = admin.expect("a person");
    let scopes = ["admin:config:read", "admin:tokens", "admin:audit"];
    assert_eq!(admin.admin, Some(scopes.map(str::to_owned).to_vec()));
    assert!(admin.org.is_none() && !admin.names_odd_org);
    let odd = read(json!({"sub":"eve","org_id":"Not An Id","realm":{"roles":["admins"]}}));
    assert!(odd.expect("a person").names_odd_org);
    assert_eq!(
        read(json!({"email":"x"})),
        Err(BadClaims::Missing("of the subject"))
    );
    assert!("[]".parse::<GroupPermissions>().is_err());
}

#[test]
fn a_person_is_an_admin_a_team_or_nobody() {
    use AuthMode::{Both, Oidc, Token};
    let person = |admin: bool, org: Option<&str>, team: Option<&str>| Person {
        subject: "ada".to_owned(),
        email: None,
        org: org.map(|id| OrgId::new(id).expect("id")),
        team: team.map(|id| TeamId::new(id).expect("id")),
        admin: admin.then(|| vec!["admin:*".to_owned()]),
        names_odd_org: false,
    };
    let admin = |org: Option<&str>| {
        let org = org.map(|id| OrgId::new(id).expect("id"));
        let scopes = vec!["admin:*".to_owned()];
        Ok(Role::Admin { org, scopes })
    };
    let team = |permissions: &[Permission]| {
        Ok(Role::Team {
            org: OrgId::new("acme").expect("id"),
            team: TeamId::new("sre").expect("id"),
            permissions: permissions.iter().copied().collect(),
        })
    };
    let full = || person(true, Some("acme"), Some("sre"));
    let read = [Permission::ConfigRead];
    for (person, modes, write, expected) in [
        (person(true, None, None), (Oidc, Token), false, admin(None)),
        (full(), (Both, Both), false, admin(Some("acme"))),
        (full(), (Token, Oidc), false, team(&read)),
        (full(), (Token, Oidc), true, team(&Permission::DEFAULT)),
        (
            person(false, Some("acme"), Some("sre")),
            (Both, Both),
            false,
            team(&read),
        ),
        (
            person(false, Some("acme"), Some("sre")),
            (Oidc, Token),
            false,
            Err(Nobody::NotAnAdmin),
        ),
        (
            person(false, Some("acme"), None),
            (Both, Both),
            true,
            Err(Nobody::NoTeam),
        ),
        (
            person(true, None, None),
            (Token, Both),
            true,
            Err(Nobody::NoTeam),
        ),
    ] {
        assert_eq!(role(&person, modes, write), expected, "{person:?}");
    }
    let odd = Person {
        names_odd_org: true,
        ..person(true, None, None)
    };
    assert_eq!(role(&odd, (Both, Both), true), Err(Nobody::OddOrg));
}
