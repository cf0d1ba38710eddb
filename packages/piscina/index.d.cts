import { Piscina } from 'corelane/piscina'
export = Piscina
