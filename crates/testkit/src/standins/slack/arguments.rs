//! A method's arguments: from a JSON body, a form body or the query, which all mean the same.

use axum::http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Map, Value};

#[derive(Debug, Default)]
pub(crate) struct Arguments(pub(crate) Map<String, Value>);

impl Arguments {
    /// Slack's error name when the body cannot be read.
    pub(crate) fn read(
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Arguments, &'static str> {
        let mut arguments = Map::new();
        add_form(&mut arguments, query.unwrap_or_default().as_bytes());
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("application/json")) {
            match serde_json::from_slice(body) {
                Ok(Value::Object(object)) => arguments.extend(object),
                Ok(_) => return Err("json_not_object"),
                Err(_) => return Err("invalid_json"),
            }
        } else {
            add_form(&mut arguments, body);
        }
        Ok(Arguments(arguments))
    }

    /// Takes the token out: from `Authorization: Bearer`, else the argument.
    pub(crate) fn take_token(&mut self, headers: &HeaderMap) -> Option<String> {
        let argument = self.0.remove("token");
        let header = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        if let Some(header) = header {
            return header.strip_prefix("Bearer ").map(str::to_owned);
        }
        argument.and_then(|value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "true" | "1"),
            Some(Value::Number(number)) => number.as_u64() == Some(1),
            _ => false,
        }
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        value
            .as_u64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    }

    /// An object or array, which forms (and sometimes JSON) carry as JSON text.
    pub(crate) fn structured(&self, name: &str) -> Option<Result<Value, ()>> {
        match self.0.get(name)? {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(serde_json::from_str(text).map_err(|_| ())),
            value => Some(Ok(value.clone())),
        }
    }
}

fn add_form(arguments: &mut Map<String, Value>, form: &[u8]) {
    for (name, value) in form_urlencoded::parse(form) {
        arguments.insert(name.into_owned(), Value::String(value.into_owned()));
    }
}
