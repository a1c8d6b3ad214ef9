// The example `dashboard`, running, and a browser that looks at it.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

// Where Chromium is, or nothing.
export function chromiumPath() {
  const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  return places.find((place) => place && existsSync(place));
}

// Starts the example, or the program that `MILLPOND_EXAMPLE` names, and waits until it says where it listens. Starts nothing if
// `MILLPOND_URL` says where one runs.
export function startExample(jobs) {
  if (process.env.MILLPOND_URL) return { url: Promise.resolve(process.env.MILLPOND_URL), stop: async () => {} };
  const features = process.env.MILLPOND_FEATURES ?? "dashboard";
  const words = ["run", "--quiet", "--features", features, "--example", "dashboard", "--", "--port", "0", "--jobs", `${jobs}`];
  const built = process.env.MILLPOND_EXAMPLE;
  const [program, args] = built ? [built, words.slice(words.indexOf("--") + 1)] : ["cargo", words];
  const child = spawn(program, args, { cwd: PROJECT, stdio: ["ignore", "pipe", "inherit"] });
  const url = new Promise((resolve, reject) => {
    let said = "";
    child.stdout.on("data", (bytes) => {
      said += bytes;
      const found = said.match(/http:\/\/[\d.:]+/);
      if (found) resolve(found[0]);
    });
    child.on("exit", (code) => reject(new Error(`the example has ended with ${code}: ${said}`)));
  });
  const stop = () =>
    new Promise((resolve) => {
      child.on("exit", resolve);
      child.kill("SIGINT");
    });
  return { url, stop };
}
