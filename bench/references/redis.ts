/** A Redis of our own on a free port, with its log on disk (appendonly, synced every second). */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Unavailable } from '../contender.ts';
import { freePort } from '../free-port.ts';
import { terminate } from '../processes.ts';

export interface Redis {
  readonly port: number;
  readonly pid: number;
  readonly stop: () => Promise<void>;
}

const START_TIMEOUT_MS = 10_000;

export async function startRedis(directory: string): Promise<Redis> {
  const port = await freePort();
  const folder = join(directory, 'redis');
  mkdirSync(folder, { recursive: true });
  const args = [
    '--bind',
    '127.0.0.1',
    '--port',
    String(port),
    '--dir',
    folder,
    '--appendonly',
    'yes',
    '--save',
    '',
    '--maxmemory-policy',
    'noeviction',
  ];
  const child = spawn('redis-server', args, { stdio: 'ignore', cwd: folder, detached: true });
  const failed = new Promise<never>((_, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new Unavailable('redis-server is not installed') : error),
    );
    child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}`)));
  });
  failed.catch(() => undefined); // later it ends because we stop it
  await Promise.race([failed, answering(port)]);
  return { port, pid: child.pid ?? 0, stop: () => terminate(child, 'SIGTERM', 5_000) };
}

async function answering(port: number): Promise<void> {
  const endMs = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < endMs) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port }, () => resolve(true));
      socket.on('error', () => resolve(false)).on('close', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (open) return;
    await sleep(50);
  }
  throw new Error('redis-server does not listen');
}
