// The class by its name, and as default.

export { Worker, Worker as default } from 'corelane/jest-worker'
