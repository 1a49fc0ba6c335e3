/**
 * Draws dashboards: reads a JSON object from its input, writes one line of JSON for every picture.
 *
 * {prometheus, chromium, pictures: [{out, dashboard, from, to, theme, width, scrapeInterval, variables}]}
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';

import { chromium } from 'playwright-core';

import { serve } from './serve.mjs';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--hide-scrollbars', '--force-color-profile=srgb',
];
const PATIENCE = 60_000;

// What a browser without Grafana's server, and a chart that nobody points at, say to nobody's harm.
const HARMLESS = [/Download the React DevTools/];

async function picture(context, url, request) {
  const page = await context.newPage();
  const said = [];
  page.on('pageerror', (error) => said.push(`JavaScript: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !HARMLESS.some((one) => one.test(message.text()))) {
      said.push(`console: ${message.text()} (${message.location().url})`);
    }
  });
  try {
    await page.setViewportSize({ width: request.width, height: 900 });
    await page.goto(url);
    await page.waitForFunction('window.streamvitals', undefined, { timeout: PATIENCE });
    const height = await page.evaluate('Math.ceil(document.getElementById("root").getBoundingClientRect().height)');
    await page.setViewportSize({ width: request.width, height: Math.max(height, 200) });
    await page.waitForTimeout(200);
    await page.screenshot({ path: request.out });
    const { sent, problems } = await page.evaluate('window.streamvitals');
    return { out: request.out, sent, problems: [...new Set([...problems, ...said])] };
  } finally {
    await page.close();
  }
}

async function main() {
  const { prometheus, chromium: executablePath, pictures } = JSON.parse(await text(process.stdin));
  const profile = await mkdtemp(path.join(tmpdir(), 'dashboards-'));
  let current;
  const server = await serve(prometheus, () => current);
  try {
    const context = await chromium.launchPersistentContext(profile, {
      executablePath, args: FLAGS, headless: true, timezoneId: 'UTC', locale: 'en-US', deviceScaleFactor: 1,
    });
    try {
      for (current of pictures) {
        process.stdout.write(`${JSON.stringify(await picture(context, server.url, current))}\n`);
      }
    } finally {
      await context.close();
    }
  } finally {
    server.close();
    await rm(profile, { recursive: true, force: true });
  }
}

await main();
