"""Signs and verifies as slack_sdk and standardwebhooks do.

Reads one JSON object a line: {scheme, secret, id, timestamp, body, signature, wrong}. Prints one for each:
{signature: theirs, accepts: whether they take ours, accepts_wrong: whether they take that of another body}.
"""

import json
import sys
from datetime import datetime, timezone

from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def slack(case):
    verifier = SignatureVerifier(case["secret"])
    timestamp, body = str(case["timestamp"]), case["body"].encode()

    def accepts(signature):
        return verifier.is_valid(body=body, timestamp=timestamp, signature=signature)

    return verifier.generate_signature(timestamp=timestamp, body=body), accepts


def standard_webhooks(case):
    webhook = Webhook(case["secret"])

    def accepts(signature):
        headers = {
            "webhook-id": case["id"],
            "webhook-timestamp": str(case["timestamp"]),
            "webhook-signature": signature,
        }
        try:
            webhook.verify(case["body"].encode(), headers, json_parse=False)
        except WebhookVerificationError:
            return False
        return True

    moment = datetime.fromtimestamp(case["timestamp"], tz=timezone.utc)
    return webhook.sign(msg_id=case["id"], timestamp=moment, data=case["body"]), accepts


SCHEMES = {"slack": slack, "standard_webhooks": standard_webhooks}

for line in sys.stdin.buffer:
    case = json.loads(line)
    signature, accepts = SCHEMES[case["scheme"]](case)
    answer = {
        "signature": signature,
        "accepts": accepts(case["signature"]),
        "accepts_wrong": accepts(case["wrong"]),
    }
    print(json.dumps(answer))
