// Small means to build elements. Text is always text: nothing from the server becomes markup.

import { priceParts } from './format.js';

/** A colour or length of the style sheet by its name. */
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const $ = (id) => document.getElementById(id);

/** An element with properties and children. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === 'class') node.className = value;
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name.startsWith('--')) node.style.setProperty(name, value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets a text only where it changed, so that selections and screen readers are left in peace. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A price, its folded noughts as a small number. */
export function showPrice(node, value, digits) {
  const { head, zeros, tail } = priceParts(value, digits);
  const plain = head + (zeros ? `|${zeros}|` : '') + tail;
  if (node.dataset.price === plain) return;
  node.dataset.price = plain;
  node.replaceChildren(head, ...(zeros ? [el('span', { class: 'zeros' }, String(zeros)), tail] : []));
}

/** Shows a quiet sentence in place of content, or hides it. */
export function empty(node, title, ...more) {
  node.hidden = !title;
  if (title) node.replaceChildren(el('strong', {}, title), ...more);
}
