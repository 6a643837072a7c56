#!/usr/bin/env node
import { enableCompileCache } from 'node:module';

// Plain JavaScript, so that a Node.js that cannot read the sources still says what is missing.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  process.stderr.write(`Carillon needs Node.js 22.18 or newer; this is ${process.version}. On Linux, "npm start" brings one along.\n`);
  process.exit(2);
}
enableCompileCache(); // in the system's temporary directory: the second start reads what the first compiled
await import('../src/cli.ts');
