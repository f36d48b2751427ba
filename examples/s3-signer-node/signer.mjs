// Signs requests to S3 for a gateway, which asks before it lets a request go. README.md has the contract.
// Node.js alone: there is nothing to install.

import { createHash, createHmac } from "node:crypto";
import { realpathSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const ALGORITHM = "AWS4-HMAC-SHA256";
const LARGEST_BODY = 64 * 1024;

/** We will not sign this. The message goes to the gateway: fixed words, nothing of what was sent. */
export class Refused extends Error {}

/** We cannot sign anything: the fault is ours. */
export class Broken extends Error {}

const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();

// AWS escapes everything but A-Z a-z 0-9 - . _ ~ ; JavaScript leaves five characters more as they are.
const escapeText = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

function unescapeText(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refused("config.path has a percent sign that begins no escaped UTF-8 character");
  }
}

/** The path in the one spelling that is signed: each character escaped once, slashes kept, dot segments kept. */
const canonicalPath = (path) => escapeText(unescapeText(path)).replaceAll("%2F", "/");

const canonicalQuery = (query) =>
  query
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => /^([^=]*)=?(.*)$/s.exec(pair).slice(1))
    .map((pair) => pair.map((text) => escapeText(unescapeText(text.replaceAll("+", " ")))))
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0))
    .map((pair) => pair.join("="))
    .join("&");

function splitTarget(target) {
  const mark = target.indexOf("?");
  return mark < 0 ? [target, ""] : [target.slice(0, mark), target.slice(mark + 1)];
}

/** Check what the gateway sent, and give it back. */
export function checkConfig(config, allowedPaths = []) {
  const check = (name, pattern, wanted) => {
    if (typeof config?.[name] !== "string" || !pattern.test(config[name])) throw new Refused(`config.${name} must be ${wanted}`);
  };
  check("method", /^[A-Z]+$/, "a method in capitals");
  check("path", /^\/[\x21-\x7e]*$/, "a path as in a request line: it begins with a slash, and is ASCII without spaces");
  check("host", /^[A-Za-z0-9.-]+(:[0-9]+)?$/, "a host name");
  check("region", /^[a-z0-9-]+$/, "the name of a region");
  check("service", /^s3$/, "s3");
  const path = canonicalPath(splitTarget(config.path)[0]);
  if (allowedPaths.length > 0 && !allowedPaths.map(canonicalPath).includes(path)) throw new Refused("config.path is not allowed");
  return config;
}

/** The headers that sign one request, AWS Signature Version 4. Pure: `now` is a Date. */
export function sign({ method, path, host, region, service }, { keyId, secret, token }, now) {
  const time = now.toISOString().replace(/[-:]|\.\d{3}/g, "");
  const scope = `${time.slice(0, 8)}/${region}/${service}/aws4_request`;
  const payload = method === "GET" || method === "HEAD" ? sha256("") : "UNSIGNED-PAYLOAD";

  const amz = { "x-amz-content-sha256": payload, "x-amz-date": time, ...(token && { "x-amz-security-token": token }) };
  const headers = Object.entries({ host, ...amz }); // in alphabetical order, as AWS wants them
  const names = headers.map(([name]) => name).join(";");
  const lines = headers.map(([name, value]) => `${name}:${value}\n`).join("");

  const [onlyPath, query] = splitTarget(path);
  const request = [method, canonicalPath(onlyPath), canonicalQuery(query), lines, names, payload].join("\n");
  const key = [time.slice(0, 8), region, service, "aws4_request"].reduce(hmac, `AWS4${secret}`);
  const signature = hmac(key, [ALGORITHM, time, scope, sha256(request)].join("\n")).toString("hex");

  return { authorization: `${ALGORITHM} Credential=${keyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`, ...amz };
}

function readCredentials(env) {
  const read = (name) => {
    const value = (env[name] ?? "").trim();
    if (!/^[\x21-\x7e]*$/.test(value)) throw new Broken(`${name} has characters that no credential has`);
    return value;
  };
  const credentials = { keyId: read("AWS_ACCESS_KEY_ID"), secret: read("AWS_SECRET_ACCESS_KEY"), token: read("AWS_SESSION_TOKEN") };
  if (!credentials.keyId || !credentials.secret) throw new Broken("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  return credentials;
}

async function readConfig(request) {
  const parts = [];
  let size = 0;
  // Without this option, leaving the loop early would close the connection before we have answered.
  for await (const part of request.iterator({ destroyOnReturn: false })) {
    size += part.length;
    if (size > LARGEST_BODY) throw new Refused(`the body is larger than ${LARGEST_BODY} bytes`);
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString())?.config;
  } catch {
    throw new Refused("the body is not JSON");
  }
}

async function answer(request, env) {
  if (request.method === "GET" && request.url === "/healthz") return [200, {}];
  try {
    if (request.method !== "POST" || request.url !== "/sign") throw new Refused("ask with POST /sign");
    const allowedPaths = (env.ALLOWED_PATHS ?? "").split(",").filter((path) => path !== "");
    const config = checkConfig(await readConfig(request), allowedPaths);
    return [200, sign(config, readCredentials(env), new Date())];
  } catch (error) {
    if (error instanceof Refused) return [403, { "x-sign-error": error.message }];
    if (error instanceof Broken) return [500, { "x-sign-error": error.message }];
    console.error(error); // a bug, or the gateway went away
    return [500, { "x-sign-error": "internal error" }];
  }
}

function main(env) {
  const server = createServer(async (request, response) => {
    const [status, headers] = await answer(request, env);
    // An unread body would be taken for the next request.
    if (!request.complete) response.shouldKeepAlive = false;
    response.writeHead(status, { "content-length": 0, ...headers }).end();
  });
  server.requestTimeout = 10_000;
  // Longer than the gateway keeps its connections: Node's 5 s would close some just as they are used again.
  server.keepAliveTimeout = 75_000;
  server.listen(Number(env.PORT ?? 3000), env.HOST ?? "127.0.0.1", () => {
    console.log(JSON.stringify({ listening: server.address().port }));
  });
  for (const name of ["SIGTERM", "SIGINT"]) {
    process.once(name, () => {
      server.close(); // finishes the requests under way
      setTimeout(() => server.closeAllConnections(), 2000).unref();
    });
  }
}

if (realpathSync(process.argv[1] ?? ".") === fileURLToPath(import.meta.url)) main(process.env);
