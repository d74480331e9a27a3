'use strict';
// An express app by the package fugue: `npm install express`, `node express-app.js`.

const express = require('express');
const fugue = require('fugue');

const app = express();
app.get('/', (request, response) => {
  response.send(`hello from worker ${fugue.workerId()}, generation ${process.env.FUGUE_GENERATION}\n`);
});

fugue.start(app, process.env.PORT ?? 8080, '127.0.0.1', 2, { verbose: true });
