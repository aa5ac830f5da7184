// Preloaded into a Node.js program (node --require) whose server would listen on every address: it listens here alone.
const net = require("net");

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  return Number.isInteger(Number(port)) ? listen.call(this, Number(port), "127.0.0.1", ...rest) : listen.call(this, port, ...rest);
};
