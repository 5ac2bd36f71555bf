//! URLs that a message may name: AWS's own, spelled in one way. Compared as text, so that no parser's
//! reading of an odd one can differ from the HTTP client's.

/// Before a certificate's digits.
const CERTIFICATE_PREFIX: &str = "SimpleNotificationService-";
/// After them.
const CERTIFICATE_SUFFIX: &str = ".pem";
/// Longest name of a region is 14 letters or so, of a certificate 32 digits.
const MAX_PART_BYTES: usize = 64;
/// A token has some 230 characters.
const MAX_URL_BYTES: usize = 2048;

/// `https://sns.<region>.amazonaws.com/SimpleNotificationService-<hex>.pem`, also below `.com.cn`.
#[must_use]
pub fn is_certificate(url: &str) -> bool {
    certificate_name(url).is_some()
}

/// The file that such a URL names.
#[must_use]
pub fn certificate_name(url: &str) -> Option<&str> {
    let name = after_host(url)?;
    let digits = name
        .strip_prefix(CERTIFICATE_PREFIX)?
        .strip_suffix(CERTIFICATE_SUFFIX)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    ((1..=MAX_PART_BYTES).contains(&digits.len()) && is_hex).then_some(name)
}

/// `https://sns.<region>.amazonaws.com/?Action=ConfirmSubscription&…`
#[must_use]
pub fn is_confirmation(url: &str) -> bool {
    let is_part = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'_' | b'~' | b':' | b'%' | b'&' | b'=' | b'+'
            )
    };
    url.len() <= MAX_URL_BYTES
        && after_host(url)
            .and_then(|rest| rest.strip_prefix("?Action=ConfirmSubscription&"))
            .is_some_and(|query| query.bytes().all(is_part))
}

/// What follows the slash after a host of SNS.
fn after_host(url: &str) -> Option<&str> {
    let (host, rest) = url.strip_prefix("https://sns.")?.split_once('/')?;
    let (region, domain) = host.split_once('.')?;
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_region = (3..=MAX_PART_BYTES).contains(&region.len()) && region.bytes().all(is_part);
    (is_region && matches!(domain, "amazonaws.com" | "amazonaws.com.cn")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_of_sns_have_certificates() {
        let right = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0aF9.pem";
        assert_eq!(
            certificate_name(right),
            Some("SimpleNotificationService-0aF9.pem")
        );
        assert!(is_certificate(&right.replace(".com/", ".com.cn/")));
        for (what, with) in [
            ("https", "http"),
            ("https", "HTTPS"),
            ("sns.eu-west-1", "s3.eu-west-1"),
            ("sns.eu-west-1", "sns"),
            ("eu-west-1", "eu"),
            ("eu-west-1", "eu_west"),
            ("eu-west-1", "evil.eu-west-1"),
            ("amazonaws.com", "amazonaws.com.evil.example"),
            ("amazonaws.com", "evilamazonaws.com"),
            ("amazonaws.com", "amazonaws.com:443"),
            ("amazonaws.com", "amazonaws.com."),
            ("amazonaws.com", "amazonaws.com@evil.example"),
            ("sns.", "user@sns."),
            (
                "amazonaws.com/",
                "evil.example/sns.eu-west-1.amazonaws.com/",
            ),
            ("/Simple", "//Simple"),
            ("/Simple", "/a/../Simple"),
            ("/Simple", "\\Simple"),
            ("0aF9", "0xyz"),
            ("0aF9", ""),
            (".pem", ".pem?x=1"),
            (".pem", ".pem#x"),
            (".pem", ".pem\n"),
            (".pem", ".PEM"),
        ] {
            let wrong = right.replacen(what, with, 1);
            assert_ne!(wrong, right);
            assert!(!is_certificate(&wrong), "{wrong}");
        }
    }

    #[test]
    fn only_a_confirmation_is_visited() {
        let right = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:1:t&Token=23";
        assert!(is_confirmation(right));
        for (what, with) in [
            ("Confirm", "Un"),
            ("/?", "/x?"),
            ("amazonaws.com", "evil.example"),
            ("23", "23#x"),
            ("23", "23 "),
            ("23", "23@evil.example"),
        ] {
            let wrong = right.replacen(what, with, 1);
            assert!(!is_confirmation(&wrong), "{wrong}");
        }
    }
}
