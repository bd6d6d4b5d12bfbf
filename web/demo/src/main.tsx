import '@backtalk/react/styles.css';
import './page.css';
import { createRoot } from 'react-dom/client';
import { App, type Config } from './App.js';

const root = createRoot(document.getElementById('page') as HTMLElement);
try {
  const answer = await fetch('/config.json');
  root.render(<App config={(await answer.json()) as Config} />);
} catch {
  root.render(<p className="lost">The local stack is not running: start it with “cargo xtask up”.</p>);
}
