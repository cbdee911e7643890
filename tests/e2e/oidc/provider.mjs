// A real OpenID Connect provider (panva's oidc-provider) for the log-in tests.
// Accounts are read from a file at every log-in, so that a test can change groups.
//
//   PORT=… REDIRECT_URI=… CLIENT_SECRET=… ACCOUNTS=accounts.json node provider.mjs

import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";

import { Provider } from "oidc-provider";

const { PORT, REDIRECT_URI, CLIENT_SECRET, ACCOUNTS } = process.env;
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: [{ client_id: "workroom", client_secret: CLIENT_SECRET, redirect_uris: [REDIRECT_URI] }],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: "first", use: "sig", alg: "RS256" }] },
  cookies: { keys: ["cookies of a test"] },
  pkce: { required: () => true },
  scopes: ["openid", "profile", "email", "groups"],
  claims: { openid: ["sub"], profile: ["preferred_username"], email: ["email"], groups: ["groups"] },
  // Whoever logs in: {"LOGIN": {"sub": …, "preferred_username": …, "groups": […]}}.
  async findAccount(_context, login) {
    const claims = JSON.parse(readFileSync(ACCOUNTS, "utf8"))[login];
    return claims && { accountId: login, claims: async () => ({ sub: login, ...claims }) };
  },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
  // Nobody is asked for consent to their own company's application.
  async loadExistingGrant(context) {
    const grant = new context.oidc.provider.Grant({
      clientId: context.oidc.client.clientId,
      accountId: context.oidc.session.accountId,
    });
    grant.addOIDCScope("openid profile email groups");
    await grant.save();
    return grant;
  },
});

const FORM = `<!doctype html><html lang="en"><title>Example Corp</title><link rel="icon" href="data:,">
<form method="post"><label>Login <input name="login"></label><button>Continue</button>
<button name="cancel" value="1">Cancel</button></form>`;

async function body(request) {
  let text = "";
  for await (const part of request) text += part;
  return new URLSearchParams(text);
}

// The provider's own log-in page: one form, no password.
provider.use(async (context, next) => {
  if (!context.path.startsWith("/interaction/")) return next();
  if (context.method === "GET") {
    context.type = "html";
    context.body = FORM;
    return undefined;
  }
  const form = await body(context.req);
  const result = form.has("cancel")
    ? { error: "access_denied", error_description: "given up" }
    : { login: { accountId: form.get("login") } };
  context.redirect(await provider.interactionResult(context.req, context.res, result));
  return undefined;
});

provider.listen(Number(PORT), "127.0.0.1", () => console.log("listening"));
