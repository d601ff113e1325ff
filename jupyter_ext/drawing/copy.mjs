// Brings the drawing module, which the widget of the Python package draws with too, to where the bundler finds it.
import { copyFileSync } from 'node:fs';

for (const name of ['run.js', 'run.css']) {
  copyFileSync(new URL(`../../taskflow/observe/static/${name}`, import.meta.url), new URL(name, import.meta.url));
}
