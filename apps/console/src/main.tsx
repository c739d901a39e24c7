import './styles/index.css';
import { render } from 'preact';
import { follow } from './api/cluster-stream.js';
import { App } from './app.js';

const root = document.getElementById('app');
if (root) render(<App />, root);
follow();
