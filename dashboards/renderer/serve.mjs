/** Builds the page, and serves it with what it asks for; Prometheus too, which has no CORS by default. */
import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs';
import { createServer, request as ask } from 'node:http';
import { request as askSafely } from 'node:https';
import path from 'node:path';

import { build } from 'esbuild';

const HERE = import.meta.dirname;
const MODULES = path.join(HERE, 'node_modules');
const BUILT = path.join(MODULES, '.cache', 'page');
const TYPES = {
  '.js': 'text/javascript', '.html': 'text/html', '.svg': 'image/svg+xml', '.woff2': 'font/woff2', '.css': 'text/css',
};
// Where Grafana's styles look for its fonts: one file of Inter has all weights.
const FONTS = [
  [/\/fonts\/inter\//, '@fontsource-variable/inter/files/inter-latin-wght-normal.woff2'],
  [/\/fonts\/roboto/, '@fontsource/roboto-mono/files/roboto-mono-latin-400-normal.woff2'],
];

/** Anew only when something in it is newer. */
async function built() {
  const src = path.join(HERE, 'src');
  const sources = [...readdirSync(src, { recursive: true }).map((name) => path.join(src, name)), path.join(HERE, 'package-lock.json')];
  const page = path.join(BUILT, 'page.js');
  const age = (file) => statSync(file).mtimeMs;
  if (existsSync(page) && sources.every((file) => age(file) < age(page))) {
    return;
  }
  await build({
    entryPoints: [path.join(HERE, 'src', 'page.tsx')], outdir: BUILT, bundle: true, format: 'esm', splitting: true,
    jsx: 'automatic', target: 'es2022', logLevel: 'error', define: { 'process.env.NODE_ENV': '"production"' },
    loader: { '.ttf': 'empty' },
  });
}

function fileFor(url) {
  if (url === '/') {
    return path.join(HERE, 'page.html');
  }
  const font = FONTS.find(([place]) => place.test(url));
  if (font) {
    return path.join(MODULES, font[1]);
  }
  // Icons, under whatever folder the components think that the public files are in.
  const icon = /\/img\/icons\/([\w-]+\/[\w-]+\.svg)$/.exec(url);
  if (icon) {
    return path.join(MODULES, '@grafana', 'ui', 'dist', 'public', 'img', 'icons', icon[1]);
  }
  return path.join(BUILT, path.basename(url));
}

function proxied(prometheus, url, answer) {
  const target = new URL(prometheus.replace(/\/$/, '') + url.slice('/prometheus'.length));
  const from = (target.protocol === 'https:' ? askSafely : ask)(target, (theirs) => {
    answer.writeHead(theirs.statusCode, { 'content-type': theirs.headers['content-type'] ?? 'text/plain' });
    theirs.pipe(answer);
  });
  from.on('error', (error) => {
    answer.writeHead(502);
    answer.end(`no answer from Prometheus: ${error.message}`);
  });
  from.end();
}

/** Where the page is; ``current()`` is the request that it gets. */
export async function serve(prometheus, current) {
  await built();
  const server = createServer((request, answer) => {
    const url = request.url ?? '/';
    const plain = url.split('?')[0];
    if (plain === '/request') {
      answer.setHeader('content-type', 'application/json');
      answer.end(JSON.stringify(current()));
    } else if (plain.startsWith('/prometheus/')) {
      proxied(prometheus, url, answer);
    } else if (existsSync(fileFor(plain))) {
      answer.setHeader('content-type', TYPES[path.extname(fileFor(plain))] ?? 'application/octet-stream');
      createReadStream(fileFor(plain)).pipe(answer);
    } else {
      answer.writeHead(404);
      answer.end();
    }
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => { server.closeAllConnections(); server.close(); } };
}
