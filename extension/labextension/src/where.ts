/** How a person gets to the page on which questions are answered. */

import { Overview } from './api';
import { element, visible } from './text';

const ADDRESS = /^http:\/\/127\.0\.0\.1:[1-9][0-9]{0,4}\/$/;

/** The page's address, empty where none runs or it is none that could be it. */
export function address(page: Overview['page']): string {
  return ADDRESS.test(page.url) ? page.url : '';
}

/** A sentence with a link, or with what to type. */
export function where(page: Overview['page']): HTMLElement {
  const line = element('p', 'keyless-where');
  const url = address(page);
  if (url) {
    const link = element('a', '', 'Open the approval page') as HTMLAnchorElement;
    link.href = url;
    link.target = '_blank';
    link.rel = 'noopener noreferrer';
    line.append(link, `, or go to the tab that `, element('code', '', visible(page.command)));
    line.append(' opened.');
  } else {
    line.append('To answer, type in a terminal on your machine: ');
    line.append(element('code', '', visible(page.command) || 'jupyter keyless page'));
  }
  return line;
}
