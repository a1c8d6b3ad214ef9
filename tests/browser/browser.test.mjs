// Every page and every action of the dashboard, in a real browser, against a queue under load.
//
//   npm ci && npm test                         needs Chromium; without one it says so and passes
//   SCREENSHOTS=shots npm test                 also writes a picture of each page into this directory
//
// For the pictures of the guide, the example runs for some minutes before, with a million waiting jobs:
//   cargo run --release --features dashboard --example dashboard -- --jobs 1000000
//   SCREENSHOTS=shots MILLPOND_URL=http://127.0.0.1:3001 node --test --test-name-pattern "every page" browser.test.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { chromiumPath, startExample } from "./pond.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = { wide: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };
const executablePath = chromiumPath();
const skip = executablePath ? false : "no Chromium is installed";
if (skip) console.log(`the browser tests are left out: ${skip}`);

let example, browser, url;

before(async () => {
  if (skip) return;
  example = startExample(20_000);
  url = await example.url;
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  await until(async () => {
    const dead = await (await fetch(`${url}/api/v1/dead`)).json();
    return dead.total > 3 && dead.groups.length > 1;
  });
});

after(async () => {
  await browser?.close();
  await example?.stop();
});

async function until(holds) {
  for (let tries = 0; tries < 600; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`it never came true: ${holds}`);
}

// A page, and what its console says.
async function open(path, options = {}) {
  const context = await browser.newContext({ viewport: SIZES.wide, bypassCSP: false, ...options });
  const page = await context.newPage();
  const said = [];
  page.on("console", (message) => message.type() === "error" && said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  await page.goto(url + path, { waitUntil: "load" });
  return { page, said, close: () => context.close() };
}

async function jobIn(query) {
  let found;
  await until(async () => {
    found = (await (await fetch(`${url}/api/v1/jobs?${query}&limit=1`)).json()).jobs[0];
    return found;
  });
  return found.id;
}

async function paths() {
  return {
    overview: "/",
    queue: "/queues/mail?state=completed",
    dead_of_queue: "/queues/mail?state=dead",
    groups: "/queues/orders/groups",
    limits: "/queues/mail/limits",
    jobs: "/jobs?tag=tenant:1",
    job: `/jobs/${await jobIn("queue=imports")}`,
    dead_job: `/jobs/${await jobIn("queue=mail&state=dead")}`,
    dead: "/dead",
    flows: "/flows",
    flow: "/flows/order-1042",
    flow_fan: "/flows/import-products",
    steps: `/jobs/${await jobIn("queue=refunds")}`,
    schedules: "/schedules",
    schedule: "/schedules/report-south",
    streams: "/streams",
    stream: "/streams/payments",
    links: "/links",
    queue_of_link: "/queues/archive",
    plugins: "/plugins",
    quarantine: "/quarantine",
    events: "/events",
    confirm: `/confirm?action=${encodeURIComponent('{"action":"cancel_jobs","jobs":{"queue":"archive"}}')}&back=/`,
    missing: "/jobs/999999999",
  };
}

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ["light", "dark"]) {
    test(`every page is sound, ${size}, ${colorScheme}`, { skip }, async () => {
      for (const [name, path] of Object.entries(await paths())) {
        const { page, said, close } = await open(path, { viewport, colorScheme });
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(width <= viewport.width, `${name} is ${width} pixels wide`);
        // The policy of the pages lets no script in but their own, so the checker comes by the debugger.
        const found = await page.evaluate(`${AXE}; axe.run()`);
        const violations = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
        assert.deepEqual(violations, [], name);
        const expected = name === "missing" ? said.filter((text) => !text.includes("404")) : said;
        assert.deepEqual(expected, [], name);
        if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}-${size}-${colorScheme}.png` });
        await close();
      }
    });
  }
}

test("a queue is paused and resumed", { skip }, async () => {
  const { page, close } = await open("/queues/reports");
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByRole("status").waitFor();
  await page.locator(".badge.paused").waitFor();
  await page.getByRole("button", { name: "Resume", exact: true }).click();
  await page.locator(".badge.paused").waitFor({ state: "detached" });
  await close();
});

test("everything can be done without a script", { skip }, async () => {
  const { page, close } = await open("/queues/reports", { javaScriptEnabled: false });
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await page.locator(".badge.paused").waitFor();
  await page.getByRole("button", { name: "Resume", exact: true }).click();
  assert.equal(await page.locator(".badge.paused").count(), 0);
  await page.goto(`${url}/queues/archive?state=pending`);
  await page.getByRole("link", { name: "Cancel all …" }).click();
  assert.match(await page.locator("h1").textContent(), /^Cancel [\d,]+ jobs\?$/);
  await page.getByRole("link", { name: "No" }).click();
  assert.equal(new URL(page.url()).pathname, "/queues/archive");
  await close();
});

test("limits are overridden and given back", { skip }, async () => {
  const { page, close } = await open("/queues/mail/limits");
  await page.getByLabel("Concurrency").fill("3");
  await page.getByLabel("Rate: jobs").fill("20");
  await page.getByLabel("in so many seconds").first().fill("2");
  await page.getByRole("button", { name: "Set", exact: true }).click();
  await page.getByRole("status").waitFor();
  const detail = async () => (await fetch(`${url}/api/v1/queues/mail`)).json();
  assert.equal((await detail()).effective.concurrency, 3);
  assert.deepEqual((await detail()).effective.rate, { count: 20, period_seconds: 2 });
  await page.getByRole("button", { name: "Back to the code's own" }).click();
  await page.getByRole("status").waitFor();
  assert.equal((await detail()).effective.concurrency, 8);
  await close();
});

test("a job is found by what its payload contains, changed, and cancelled", { skip }, async () => {
  const { page, close } = await open("/jobs");
  await page.getByRole("searchbox").fill("@later.example");
  await page.getByRole("button", { name: "Search" }).click();
  await page.locator("table.jobs tbody a").first().click();
  await page.getByText("Change it").click();
  await page.getByLabel("Priority").fill("1");
  await page.getByRole("button", { name: "Change", exact: true }).click();
  await page.getByRole("status").waitFor();
  assert.equal(await page.locator("dl.facts div", { hasText: "priority" }).locator("dd").textContent(), "1");
  await page.getByRole("link", { name: "Cancel …" }).click();
  await page.getByLabel("Reason").fill("<b>because</b>");
  await page.getByRole("button", { name: "Yes" }).click();
  await page.getByRole("status").waitFor();
  await close();
});

test("a list is narrowed by the form", { skip }, async () => {
  const { page, close } = await open("/queues/mail");
  await page.getByText("Filter", { exact: true }).first().click();
  await page.getByLabel("Tag").fill("tenant:1");
  await page.getByRole("button", { name: "Filter" }).click();
  assert.equal(await page.locator("h1").textContent(), "mail");
  assert.equal(await page.getByLabel("Tag").inputValue(), "tenant:1");
  await close();
});

test("dead letters are redriven by their error", { skip }, async () => {
  const { page, close } = await open("/dead");
  await page.getByRole("link", { name: "Redrive …", exact: true }).first().click();
  assert.match(await page.locator("h1").textContent(), /^Redrive \d+ jobs?\?$/);
  await page.getByRole("button", { name: "Yes" }).click();
  assert.match(await page.getByRole("status").textContent(), /\d+/);
  await close();
});

test("a schedule is paused, resumed and run now", { skip }, async () => {
  const { page, close } = await open("/schedules/report-north");
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator(".badge.paused").waitFor();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("button", { name: "Run now" }).click();
  await page.getByRole("status").waitFor();
  await close();
});

test("a flow is seen, signalled and redriven", { skip }, async () => {
  const { page, close } = await open("/flows");
  await page.getByRole("link", { name: "order-1042" }).click();
  await page.locator("svg.flow").waitFor();
  await page.locator("svg.flow a.dead").waitFor();
  assert.ok((await page.locator("svg.flow .edge").count()) > 5);
  await page.getByText("Send a signal").click();
  await page.getByLabel("What is sent with it").fill('{"by":"ada"}');
  await page.getByRole("button", { name: "Send" }).click();
  assert.match(await page.getByRole("status").textContent(), /approved .* has come/);
  await page.locator(".badge.paused", { hasText: "held" }).first().waitFor();
  await page.getByRole("button", { name: "Redrive what has died" }).click();
  assert.match(await page.getByRole("status").textContent(), /1 job is redriven/);
  await page.locator("svg.flow a.dead").click();
  await page.waitForURL(/\/jobs\/\d+$/);
  await page.getByRole("link", { name: "order-1042" }).first().click();
  await page.waitForURL(/\/flows\/order-1042$/);
  await close();
});

test("the graph of a flow scrolls on a phone", { skip }, async () => {
  const { page, close } = await open("/flows/order-1041", { viewport: SIZES.phone });
  const graph = page.locator("#graph");
  await graph.waitFor();
  const [inside, outside] = await graph.evaluate((part) => [part.scrollWidth, part.clientWidth]);
  assert.ok(inside > outside, `${inside} ${outside}`);
  await close();
});

test("the numbers move by themselves, and nothing else does", { skip }, async () => {
  const { page, close } = await open("/");
  await page.evaluate(() => {
    window.shifts = [];
    new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((entry) => entry.value))).observe({
      type: "layout-shift",
      buffered: false,
    });
  });
  const commits = () => page.locator("dl.facts div", { hasText: "commits" }).first().locator("dd").textContent();
  const before = await commits();
  await until(async () => (await commits()) !== before);
  await page.waitForTimeout(3_000);
  const shifts = await page.evaluate(() => window.shifts);
  assert.ok(shifts.reduce((sum, value) => sum + value, 0) < 0.01, `${shifts}`);
  await close();
});

test("live updates stop and go on", { skip }, async () => {
  const { page, close } = await open("/");
  const toggle = page.getByRole("button", { name: "Live" });
  await page.locator("button.live.on").waitFor();
  await toggle.click();
  assert.equal(await toggle.getAttribute("aria-pressed"), "false");
  await page.locator("button.live.on").waitFor({ state: "detached" });
  await toggle.click();
  await page.locator("button.live.on").waitFor();
  await close();
});

test("events arrive, with links to their jobs", { skip }, async () => {
  const { page, close } = await open("/events");
  await page.locator("table.events tbody tr a").first().waitFor();
  await close();
});

test("the keyboard reaches the content and every action", { skip }, async () => {
  const { page, close } = await open("/queues/mail");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).hash, "#content");
  await close();
});
