import { expect, test } from '@playwright/test';
import { ask, Desk, fresh, signalPusher } from './stack.js';

const two = async () => {
  const [anna, ben] = await Promise.all([fresh('Anna'), fresh('Ben')]);
  return { anna, ben, people: [anna, ben] };
};

test('two people chat: typing, unread badges, receipts', async ({ browser }) => {
  const { anna, ben, people } = await two();
  const annas = await Desk.open(browser, people, anna);
  const bens = await Desk.open(browser, people, ben);
  await annas.start('Ben');
  await annas.say('Are you there?');
  await expect(annas.bubble('Are you there?')).toContainText('Sent');
  await expect(bens.unread).toHaveText('1 unread');
  await annas.say('It is about Tuesday.');
  await expect(bens.unread).toHaveText('2 unread');

  await bens.page.getByRole('button', { name: /Anna.*unread/s }).click();
  await expect(bens.bubble('Tuesday')).toBeVisible();
  await expect(bens.unread).toHaveCount(0);
  await expect(annas.bubble('Tuesday')).toContainText('Read');

  await bens.composer.pressSequentially('Ye');
  await expect(annas.page.getByText('Ben is typing')).toBeVisible();
  await bens.say('Yes!');
  await expect(annas.bubble('Yes!')).toBeVisible();
  await expect(annas.page.getByText('Ben is typing')).toHaveCount(0);
  await expect(annas.unread).toHaveCount(0);
});

/** One pixel. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

test('an image is chosen, uploaded, sent, and seen by the other', async ({ browser }) => {
  const { anna, ben, people } = await two();
  const annas = await Desk.open(browser, people, anna);
  const bens = await Desk.open(browser, people, ben);
  await annas.start('Ben');
  const file = { name: 'shop.png', mimeType: 'image/png', buffer: Buffer.from(PNG, 'base64') };
  await annas.page.getByLabel('Images', { exact: true }).setInputFiles(file);
  await expect(annas.page.getByRole('button', { name: 'Remove shop.png' })).toBeVisible();
  const send = annas.page.getByRole('button', { name: 'Send' });
  await expect(send).toBeEnabled();
  await send.click();
  await expect(annas.page.getByRole('button', { name: 'Remove shop.png' })).toHaveCount(0);
  await bens.page.getByRole('button', { name: /Anna.*unread/s }).click();
  for (const { page } of [annas, bens]) {
    const image = page.getByRole('img', { name: 'shop.png' });
    await expect.poll(() => image.evaluate((element: HTMLImageElement) => element.naturalWidth)).toBe(1);
  }
  // What is no image is refused before it is sent.
  await annas.page
    .getByLabel('Images', { exact: true })
    .setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('x') });
  await expect(annas.page.getByRole('alert')).toContainText('notes.txt');
  await expect(send).toBeDisabled();
});

test('two windows side by side are two people, who can be changed', async ({ page }) => {
  const { anna, ben, people } = await two();
  await page.route('**/config.json', async (route) => {
    const config = await (await route.fetch()).json();
    await route.fulfill({ json: { ...config, people } });
  });
  await page.goto('/');
  const [annas, bens] = [anna, ben].map(({ name }) => page.getByRole('region', { name: `${name}'s window` }));
  if (!annas || !bens) throw new Error('there are two');
  await annas.locator('.toolbar').getByRole('button', { name: 'Ben' }).click();
  await annas.getByRole('textbox', { name: 'Write a message' }).fill('Hello, you over there');
  await annas.getByRole('textbox', { name: 'Write a message' }).press('Enter');
  await bens.getByRole('button', { name: /Anna.*over there.*unread/s }).click();
  await expect(bens.locator('.bt-message', { hasText: 'over there' })).toBeVisible();
  await page.screenshot({ path: 'test-results/screens/side-by-side-desktop-light.png' });
  await bens.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('button', { name: 'Sign in as Anna' }).click();
  await expect(bens).toHaveCount(0);
  await expect(annas).toHaveCount(2);
  await annas
    .last()
    .getByRole('button', { name: /Ben.*You: Hello/s })
    .click();
  await expect(annas.last().locator('.bt-message', { hasText: 'over there' })).toContainText('Read');
});

test('who has the page open is online, and who has left was seen last', async ({ browser }) => {
  const { anna, ben, people } = await two();
  const annas = await Desk.open(browser, people, anna);
  await annas.start('Ben');
  const header = annas.page.locator('.bt-header');
  await expect(header).not.toContainText('Online');
  const bens = await Desk.open(browser, people, ben);
  await bens.page.getByRole('button', { name: /Anna/ }).last().click();
  await expect(header).toContainText('Online');
  await expect(annas.page.getByRole('img', { name: 'online' })).toBeVisible();
  await bens.page.close();
  await expect(header).toContainText('Last seen');
  await expect(annas.page.getByRole('img', { name: 'online' })).toHaveCount(0);
});

test('an answer is streamed, survives a reload in its middle, and can be stopped and written again', async ({
  browser,
}) => {
  const { anna, people } = await two();
  const desk = await Desk.open(browser, people, anna);
  await desk.start('AI chat');
  await desk.say('/script {"words": 200, "delayMs": 150}');
  const answer = desk.page.locator('.bt-message.is-streaming .bt-bubble');
  await expect(answer).not.toHaveText('');
  const before = await answer.innerText();
  await desk.page.reload();
  await desk.page.getByRole('button', { name: /Ask anything/ }).click();
  await expect(answer).toContainText(before.slice(0, 8));
  const afterReload = await answer.innerText();
  await expect.poll(async () => (await answer.innerText()).length).toBeGreaterThan(afterReload.length);
  await desk.page.getByRole('button', { name: 'Stop', exact: true }).click();
  await expect(desk.page.locator('.bt-message.is-streaming')).toHaveCount(0);
  await expect(desk.messages).toHaveCount(2);

  const said = desk.page.locator('.bt-message.is-theirs');
  await said.getByRole('button', { name: 'Write again' }).click();
  await expect(desk.page.locator('.bt-message.is-streaming')).toHaveCount(1);
  await desk.page.getByRole('button', { name: 'Stop', exact: true }).click();
  await expect(desk.page.locator('.bt-message.is-streaming')).toHaveCount(0);
  await expect(desk.messages).toHaveCount(2);
});

test('an answer that is written again while it is still read how the one before ended goes on being shown', async ({
  browser,
}) => {
  const { anna, people } = await two();
  const desk = await Desk.open(browser, people, anna);
  await desk.start('AI chat');
  await desk.say('/script {"words": 300, "delayMs": 100}');
  const answer = desk.page.locator('.bt-message.is-streaming .bt-bubble');
  await expect(answer).not.toHaveText('');
  // After a reload it is joined, and by whoever joined it read again when it is over.
  await desk.page.reload();
  await desk.page.getByRole('button', { name: /Ask anything/ }).click();
  await expect(answer).not.toHaveText('');
  const held: (() => void)[] = [];
  await desk.page.route(/changedAfter=/, async (route) => {
    await new Promise<void>((go) => held.push(go));
    await route.continue();
  });
  const stop = desk.page.getByRole('button', { name: 'Stop', exact: true });
  await stop.click();
  await expect(answer).toHaveCount(0);
  await expect.poll(() => held.length).toBeGreaterThan(0);
  await desk.page.getByRole('button', { name: 'Write again' }).click();
  await expect(answer).not.toHaveText('');
  await desk.page.unroute(/changedAfter=/);
  const read = desk.page.waitForResponse(/changedAfter=/);
  for (const go of held) go();
  await read;
  const sofar = await answer.innerText();
  await expect.poll(async () => (await answer.innerText()).length).toBeGreaterThan(sofar.length);
  await stop.click();
  await expect(answer).toHaveCount(0);
  await expect(desk.messages).toHaveCount(2);
});

test('Pusher dies and comes back while messages flow: both windows end equal, nothing twice', async ({ browser }) => {
  const { anna, ben, people } = await two();
  // So high that all of the chat is drawn.
  const viewport = { width: 1000, height: 1600 };
  const annas = await Desk.open(browser, people, anna, { viewport });
  const bens = await Desk.open(browser, people, ben, { viewport });
  await expect(bens.transport).toHaveText('pusher');
  await annas.start('Ben');
  await annas.say('message 0');
  await bens.page.getByRole('button', { name: /Anna/ }).last().click();
  await expect(bens.bubble('message 0')).toBeVisible();

  const said = ['message 0'];
  const talk = async (until: number) => {
    for (let number = said.length; number < until; number += 1) {
      const desk = number % 2 ? bens : annas;
      await desk.say(`message ${number}`);
      said.push(`message ${number}`);
      // In turns, so that their order is known.
      await expect(desk.bubble(`message ${number}`)).toContainText(/Sent|Read/);
    }
  };
  await talk(3);
  await bens.cut('Pusher', true);
  await talk(7);
  await expect(bens.transport).toHaveText('sse');
  await bens.cut('Event stream', true);
  await talk(10);
  await expect(bens.transport).toHaveText('polling');
  await bens.cut('Pusher', false);
  await talk(13);
  await expect(bens.transport).toHaveText('pusher');
  for (const desk of [annas, bens]) await expect.poll(() => desk.texts()).toEqual(said);
});

test("Pusher's server is killed while messages flow, and started again: both windows end equal, nothing twice", async ({
  browser,
}) => {
  const { anna, ben, people } = await two();
  const viewport = { width: 1000, height: 1600 };
  const annas = await Desk.open(browser, people, anna, { viewport });
  const bens = await Desk.open(browser, people, ben, { viewport });
  const sockets = [annas, bens].map(({ page }) => {
    const opened: string[] = [];
    page.on('websocket', (socket) => opened.push(socket.url()));
    return opened;
  });
  await annas.start('Ben');
  await annas.say('message 0');
  await bens.page.getByRole('button', { name: /Anna/ }).last().click();
  await expect(bens.bubble('message 0')).toBeVisible();
  const said = ['message 0'];
  for (let number = 1; number <= 12; number += 1) {
    if (number === 5) signalPusher('SIGKILL');
    const desk = number % 2 ? bens : annas;
    const text = `message ${number}`;
    await desk.say(text);
    said.push(text);
    // In turns, so that their order is known.
    await expect(desk.bubble(text)).toHaveClass(/is-sent/);
  }
  for (const desk of [annas, bens]) {
    await expect.poll(() => desk.texts()).toEqual(said);
    await expect(desk.transport).toHaveText('pusher', { timeout: 30_000 });
  }
  // They did lose it.
  for (const opened of sockets) expect(opened.length).toBeGreaterThan(0);
  await annas.say('by Pusher again');
  said.push('by Pusher again');
  for (const desk of [annas, bens]) await expect.poll(() => desk.texts()).toEqual(said);
  // What is lost without a word, and followed by nothing, is read when the connection is there again.
  signalPusher('SIGSTOP');
  try {
    await annas.say('unheard');
    said.push('unheard');
    await expect(annas.bubble('unheard')).toHaveClass(/is-sent/);
  } finally {
    signalPusher('SIGKILL');
  }
  for (const desk of [annas, bens]) await expect.poll(() => desk.texts()).toEqual(said);
});

test('without a network a message waits, is marked, and is sent once', async ({ browser }) => {
  const { anna, ben, people } = await two();
  const annas = await Desk.open(browser, people, anna);
  await annas.start('Ben');
  await annas.say('before');
  await expect(annas.bubble('before')).toContainText('Sent');
  await annas.cut('Network', true);
  await annas.page.getByRole('button', { name: /Ben.*before/s }).waitFor();
  await annas.say('into the void');
  await expect(annas.bubble('into the void')).toContainText('Sending');
  await expect(annas.bubble('into the void')).toContainText('Not sent', { timeout: 30_000 });

  // It outlives the page, whose network is whole.
  await annas.bubble('into the void').getByRole('button', { name: 'Retry' }).click();
  await expect(annas.bubble('into the void')).toContainText('Sending');
  await annas.page.reload();
  await annas.page.getByRole('button', { name: /^Ben/ }).last().click();
  await expect(annas.bubble('into the void')).toContainText('Sent');
  const { chats } = await ask<{ chats: { id: string }[] }>(ben, 'GET', '/api/chat');
  const { messages } = await ask<{ messages: { content: string }[] }>(ben, 'GET', `/api/chat/${chats[0]?.id}/messages`);
  expect(messages.map((message) => message.content)).toEqual(['before', 'into the void']);
});

test('a refused message says why, and can be tried again', async ({ browser }) => {
  const { anna, people } = await two();
  const annas = await Desk.open(browser, people, anna);
  await annas.start('Ben');
  await annas.page.route('**/api/chat/*/messages', (route) =>
    route.request().method() === 'POST'
      ? route.fulfill({
          status: 422,
          headers: { 'access-control-allow-origin': '*' },
          contentType: 'application/problem+json',
          json: { type: 'message-refused', title: 'Refused', status: 422, detail: 'Be kind.' },
        })
      : route.continue(),
  );
  await annas.say('something rude');
  await expect(annas.bubble('something rude')).toContainText('Not sent: Be kind.');
  await annas.page.unroute('**/api/chat/*/messages');
  await annas.bubble('something rude').getByRole('button', { name: 'Retry' }).click();
  await expect(annas.bubble('something rude')).toContainText('Sent');
  await expect(annas.messages).toHaveCount(1);
});

test('two tabs of one person share a connection, and the second takes over', async ({ browser }) => {
  const { anna, ben, people } = await two();
  const annas = await Desk.open(browser, people, anna);
  await annas.start('Ben');
  const other = await annas.context.newPage();
  await other.route('**/config.json', async (route) => {
    const config = await (await route.fetch()).json();
    await route.fulfill({ json: { ...config, people } });
  });
  await other.goto(`/?as=${anna.id}`);
  await expect(other.getByTestId('transport')).toHaveText('pusher');
  await other.locator('.bar').getByRole('button', { name: 'Inside' }).click();
  await expect(other.getByText('pusher, of another tab')).toBeVisible();
  await annas.page.close();
  await expect(other.getByText('pusher, of another tab')).toHaveCount(0);
  await other.locator('.bar').getByRole('button', { name: 'Chats' }).click();
  const { chats } = await ask<{ chats: { id: string }[] }>(ben, 'GET', '/api/chat');
  await ask(ben, 'POST', `/api/chat/${chats[0]?.id}/messages`, { clientId: 'one', content: 'still there?' });
  await expect(other.getByTestId('unread')).toHaveText('1 unread');
});

test('a post is written beside its chat, which welcomes, answers, and follows up once it rests', async ({
  browser,
}) => {
  const { anna, people } = await two();
  const desk = await Desk.open(browser, people, anna);
  await desk.view('Post');
  await desk.page.getByRole('textbox', { name: 'A new post' }).fill('A first line');
  await desk.page.getByRole('button', { name: 'Write it with the assistant' }).click();
  await expect(desk.messages).toHaveCount(1);
  const composer = desk.page.getByRole('textbox', { name: 'Ask about your post' });
  await composer.fill('Is it good?');
  await composer.press('Enter');
  await expect(desk.bubble('You said: Is it good?')).toBeVisible();
  await expect(desk.messages).toHaveCount(3);
  await desk.page.getByRole('textbox', { name: 'Post', exact: true }).fill('A first line, and a second');
  await expect(desk.messages).toHaveCount(4);
  const { posts } = await ask<{ posts: { id: string; chatId: string }[] }>(anna, 'GET', '/api/posts');
  expect(posts).toHaveLength(1);
});

test('what an agent has to say is a notice, and is read one by one', async ({ browser }) => {
  const { anna, people } = await two();
  const desk = await Desk.open(browser, people, anna);
  await desk.view('Notices');
  await desk.page.getByRole('button', { name: 'Clarification' }).click();
  await desk.page.getByRole('button', { name: 'Confirmation' }).click();
  await expect(desk.bubble('Which room?')).toBeVisible();
  await expect(desk.bubble('Booked for Tuesday, 10:00.')).toBeVisible();
  await desk.page.getByRole('button', { name: 'Mark read' }).click();
  const total = async () => (await ask<{ total: number }>(anna, 'GET', '/api/chat-messages')).total;
  await expect.poll(total).toBe(0);
});

test('everything can be done by keyboard', async ({ browser }) => {
  const { anna, ben, people } = await two();
  const annas = await Desk.open(browser, people, anna);
  const { page } = annas;
  const focusOn = async (name: RegExp) => {
    for (let presses = 0; presses < 40; presses += 1) {
      await page.keyboard.press('Tab');
      const focused = await page.evaluate(() => {
        const element = document.activeElement;
        const label = element?.id ? document.querySelector(`label[for="${CSS.escape(element.id)}"]`) : null;
        return element?.getAttribute('aria-label') ?? label?.textContent ?? element?.textContent ?? '';
      });
      if (name.test(focused)) return;
    }
    throw new Error(`${name} cannot be reached`);
  };
  await focusOn(/^Ben$/);
  await page.keyboard.press('Enter');
  await expect(annas.composer).toBeVisible();
  await focusOn(/^Write a message$/);
  await page.keyboard.type('by hand');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('two lines');
  await page.keyboard.press('Enter');
  await expect(annas.bubble('two lines')).toContainText('Sent');
  for (const name of ['Attach images', 'Delete', 'Edit']) {
    await page.keyboard.press('Shift+Tab');
    await expect(page.locator(':focus')).toContainText(name);
  }
  await page.keyboard.press('Enter');
  await expect(page.getByRole('textbox', { name: 'Edit the message' })).toBeFocused();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('edited');
  await page.keyboard.press('Enter');
  await expect(annas.bubble('edited')).toContainText('Edited');
  const { chats } = await ask<{ chats: { lastMessage: { content: string } }[] }>(ben, 'GET', '/api/chat');
  expect(chats[0]?.lastMessage.content).toBe('edited');
});

test('on a phone, the focus goes along with what is shown', async ({ browser }) => {
  const { anna, ben, people } = await two();
  for (const other of [ben, await fresh('Cleo')]) {
    const { chat } = await ask<{ chat: { id: string } }>(other, 'POST', '/api/chat', {
      kind: 'direct',
      members: [anna.id],
    });
    await ask(other, 'POST', `/api/chat/${chat.id}/messages`, { clientId: 'c', content: 'hello' });
  }
  const { page } = await Desk.open(browser, people, anna, { viewport: { width: 390, height: 844 } });
  const bens = page.getByRole('button', { name: /Ben.*hello/s });
  await bens.focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('button', { name: 'Back to chats' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(bens).toBeFocused();
});

test('a long chat draws what is in sight, and reads on when scrolled', async ({ browser }) => {
  const { anna, ben, people } = await two();
  const { chat } = await ask<{ chat: { id: string } }>(ben, 'POST', '/api/chat', {
    kind: 'direct',
    members: [anna.id],
  });
  for (let number = 1; number <= 70; number += 1) {
    const body = { clientId: `c${number}`, content: `line ${number}` };
    await ask(ben, 'POST', `/api/chat/${chat.id}/messages`, body);
  }
  const annas = await Desk.open(browser, people, anna);
  await annas.page.getByRole('button', { name: /Ben.*unread/s }).click();
  await expect(annas.bubble('line 70')).toBeInViewport();
  expect(await annas.messages.count()).toBeLessThan(60);
  const list = annas.page.getByRole('list', { name: 'Messages' });
  await expect(async () => {
    await list.evaluate((element) => element.scrollTo(0, 0));
    expect((await annas.texts())[0]).toBe('line 1');
  }).toPass({ timeout: 20_000 });
  // A screen reader is told of all of them.
  await expect(annas.bubble(/^line 1$/)).toHaveAttribute('aria-posinset', '1');
  await expect(annas.bubble(/^line 1$/)).toHaveAttribute('aria-setsize', '70');
});

test('of ten thousand messages only those in sight are drawn', async ({ browser }) => {
  const { anna, ben, people } = await two();
  const { chat } = await ask<{ chat: { id: string } }>(ben, 'POST', '/api/chat', {
    kind: 'direct',
    members: [anna.id],
  });
  await ask(ben, 'POST', `/api/chat/${chat.id}/messages`, { clientId: 'c', content: 'the last' });
  const annas = await Desk.open(browser, people, anna);
  await annas.page.route(`**/api/chat/${chat.id}`, async (route) => {
    const answer = await route.fetch();
    const opened = await answer.json();
    const [last] = opened.messages;
    const made = Array.from({ length: 10_000 }, (_, index) => ({
      ...last,
      id: `made-${index}`,
      clientId: `made-${index}`,
      seq: last.seq - 10_000 + index,
      content: `made ${index}`,
    }));
    await route.fulfill({ response: answer, json: { ...opened, messages: [...made, last] } });
  });
  const { page } = annas;
  // How long the page could not draw: the longest of each part.
  await page.evaluate(() => {
    const seen = { longest: 0, count: 0 };
    Object.assign(window, { tasks: seen });
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) {
        seen.longest = Math.max(seen.longest, duration);
        seen.count += 1;
      }
    }).observe({ type: 'longtask' });
  });
  const tasks = () =>
    page.evaluate(() => {
      const { tasks } = window as unknown as { tasks: { longest: number; count: number } };
      const now = { ...tasks };
      Object.assign(tasks, { longest: 0, count: 0 });
      return now;
    });
  const nodes = () => page.locator('.bt-messages *').count();
  const list = page.getByRole('list', { name: 'Messages' });

  await page.getByRole('button', { name: /Ben.*unread/s }).click();
  await expect(annas.bubble('the last')).toBeInViewport();
  const opening = await tasks();
  const drawn = [await nodes()];
  await annas.say('one more');
  await expect(annas.bubble('one more')).toContainText('Sent');
  await expect(annas.bubble('one more')).toBeInViewport();
  const sending = await tasks();
  // From its end to its middle in the steps of a wheel, and then in leaps.
  await list.hover();
  for (let step = 0; step < 40; step += 1) await page.mouse.wheel(0, -400);
  for (let place = 0; place < 40; place += 1) {
    await list.evaluate((element, place) => element.scrollTo(0, element.scrollHeight * (1 - place / 80)), place);
  }
  // Again, for the list goes on to its end for a moment.
  await expect(async () => {
    await list.evaluate((element) => element.scrollTo(0, element.scrollHeight / 2));
    await expect(page.getByText(/^made [45]\d\d\d$/).nth(5)).toBeInViewport({ timeout: 1000 });
  }).toPass({ timeout: 20_000 });
  const scrolling = await tasks();
  drawn.push(await nodes());
  for (const [name, { longest, count }] of Object.entries({ opening, sending, scrolling })) {
    console.log(`10,000 messages, ${name}: ${count} long tasks, the longest ${Math.round(longest)} ms`);
  }
  console.log(`10,000 messages, elements drawn: ${drawn.join(' and ')}`);
  expect(Math.max(...drawn)).toBeLessThan(1000);
  // Drawing all of them takes seconds.
  expect(Math.max(sending.longest, scrolling.longest)).toBeLessThan(500);
  // What was left behind is a click away.
  await page.getByRole('button', { name: 'Newest' }).click();
  await expect(annas.bubble('one more')).toBeInViewport();
});
