//! Stripe: one event with the object that it is about, as it is afterwards.

use std::borrow::Cow;

use tocsin_wire::proto::{Event, EventStatus, TextFormat};
use tocsin_wire::scheme::Scheme;

use super::{Delivery, Malformed, Normalized, draft::Draft, first, read_json, times, utf8};
use crate::json::{Flag, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "stripe";

/// Stripe's endpoints, whose secrets (`whsec_…`) are text and not base64.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "stripe-webhook-secret",
        variable: "STRIPE_WEBHOOK_SECRET",
        help: "Signing secrets of Stripe's webhook endpoints (whsec_…)",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Stripe {
        header: Cow::Borrowed("stripe-signature"),
    }],
    single_headers: &[],
    kept_headers: &[],
    throttled: Throttled::TooManyRequests,
};

/// Objects whose events have a kind of their own. Stripe has hundreds of types, `<object>.<what happened>`;
/// what happened is the event's action.
const KNOWN: &[&str] = &[
    "account",
    "application_fee",
    "balance",
    "billing",
    "capability",
    "cash_balance",
    "charge",
    "checkout",
    "coupon",
    "credit_note",
    "customer",
    "entitlements",
    "file",
    "identity",
    "invoice",
    "invoiceitem",
    "issuing_authorization",
    "issuing_card",
    "issuing_dispute",
    "issuing_transaction",
    "mandate",
    "payment_intent",
    "payment_link",
    "payment_method",
    "payout",
    "person",
    "plan",
    "price",
    "product",
    "promotion_code",
    "quote",
    "radar",
    "refund",
    "reporting",
    "review",
    "setup_intent",
    "sigma",
    "source",
    "subscription_schedule",
    "tax",
    "tax_rate",
    "terminal",
    "topup",
    "transfer",
    "treasury",
];

object! {
    Body {
        "id" => id: Text<'a>,
        "type" => kind: Text<'a>,
        "account" => account: Text<'a>,
        "created" => created: Text<'a>,
        "api_version" => api_version: Text<'a>,
        "livemode" => is_live: Option<Flag>,
        "data" => data: Data<'a>,
        "request" => request: Request<'a>,
    }
}

object! {
    Data { "object" => about: About<'a> }
}

object! {
    About {
        "id" => id: Text<'a>,
        "object" => kind: Text<'a>,
        "status" => status: Text<'a>,
        "description" => description: Text<'a>,
        "failure_message" => failure: Text<'a>,
        "customer" => customer: Text<'a>,
        "currency" => currency: Text<'a>,
        "amount" => amount: Text<'a>,
    }
}

object! {
    Request { "id" => id: Text<'a> }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let body: Body<'_> = read_json(utf8(delivery.body)?)?;
    Ok(Normalized::Event(Box::new(event(delivery, &body))))
}

fn event(delivery: Delivery<'_>, body: &Body<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let native = body.kind.text();
    let (kind, action) = native.split_once('.').unwrap_or((native, ""));
    if KNOWN.contains(&kind) {
        kind.clone_into(&mut draft.event.kind);
    }
    native.clone_into(&mut draft.event.native_type);
    action.clone_into(&mut draft.event.action);

    draft.identifier("stripe_account", body.account.text());
    if let Some(Flag(is_live)) = body.is_live {
        draft.identifier("livemode", if is_live { "true" } else { "false" });
    }

    let about = &body.data.about;
    draft.title(native);
    draft.text(
        first(&[&about.failure, &about.description]),
        TextFormat::Plain,
    );
    draft.occurred(times::number_or_date(body.created.text()));
    draft.state(about.status.text(), EventStatus::Info);
    draft.correlation(&[about.kind.text(), about.id.text()]);
    draft.attribute("object", about.kind.text());
    draft.attribute("object_id", about.id.text());
    draft.attribute("customer", about.customer.text());
    draft.attribute("amount", about.amount.text());
    draft.attribute("currency", about.currency.text());
    draft.attribute("api_version", body.api_version.text());
    draft.attribute("request_id", body.request.id.text());
    let id = body.id.get();
    draft.finish(body.id.text(), id.filter(|id| super::draft::is_id(id)))
}
