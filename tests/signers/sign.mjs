// Signs and verifies as GitHub's own library does. Lines in and out are those of sign.py.
import { readFileSync } from "node:fs";
import { sign, verify } from "@octokit/webhooks-methods";

// Not by readline, which takes some characters of a body for the end of a line.
for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { secret, body, signature, wrong } = JSON.parse(line);
  const answer = {
    signature: await sign(secret, body),
    accepts: await verify(secret, body, signature),
    accepts_wrong: await verify(secret, body, wrong),
  };
  console.log(JSON.stringify(answer));
}
