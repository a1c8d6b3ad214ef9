// Fills in a template that a customer wrote, and enqueues the mail: { to, template, values }.

import { DeadLetter, config, enqueue, handler as run, log, state } from "./millpond.js";

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text) => String(text).replace(/[&<>"']/g, (sign) => ESCAPES[sign]);

export const handler = run(({ to, template, values = {} }) => {
  if (typeof to !== "string" || typeof template !== "string") throw new DeadLetter("`to` and `template` are missing");
  const missing = [];
  const html = template.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => {
    if (!Object.hasOwn(values, name)) missing.push(name);
    return escape(values[name] ?? "");
  });
  if (missing.length > 0) log.warn(`no value for ${missing.join(", ")}`);
  state.increment("rendered");
  enqueue(config("kind") ?? "mail", { to, html }, { uniqueKey: config("unique") ?? undefined });
  return { bytes: html.length };
});
