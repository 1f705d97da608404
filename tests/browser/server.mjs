// `kohort up` on free ports, ready when it says so.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const binary = path.resolve(process.env.KOHORT_BIN ?? path.join(here, '../../target/release/kohort'));
const READY_MS = 60_000;

/** Runs another command against the broker at `address`, with something on stdin. */
export function kohort(address, args, input) {
  const { status, stderr } = spawnSync(binary, [...args, '--bootstrap-server', address], { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(`kohort ${args.join(' ')}: ${status}\n${stderr}`);
}

export async function up(...more) {
  const data = await mkdtemp(path.join(tmpdir(), 'kohort-browser-'));
  const args = ['up', '--data', data, '--broker', '127.0.0.1:0', '--http', '127.0.0.1:0', ...more];
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let errors = '';
  child.stderr.on('data', (bytes) => { errors = (errors + bytes).slice(-20_000); });
  const exited = new Promise((resolve, reject) => {
    child.on('exit', (code, signal) => resolve({ code, signal }));
    child.on('error', reject);
  });
  const ready = new Promise((resolve, reject) => {
    child.stdout.on('data', (bytes) => {
      out += bytes;
      const found = out.match(/^http listening on (\S+)$/m);
      if (found) resolve(found[1]);
    });
    exited.then(({ code }) => reject(new Error(`kohort up ended with ${code}:\n${errors}`)), reject);
    setTimeout(() => reject(new Error(`kohort up was not ready in ${READY_MS} ms:\n${errors}`)), READY_MS).unref();
  });
  const stop = async (signal = 'SIGINT') => {
    child.kill(signal);
    const ended = await exited;
    await rm(data, { recursive: true, force: true });
    return ended;
  };
  try {
    const url = await ready;
    const broker = out.match(/^broker listening on (\S+)$/m)[1];
    return { url, broker, stop, output: () => out, errors: () => errors };
  } catch (error) {
    await stop('SIGKILL');
    throw error;
  }
}
