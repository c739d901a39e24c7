import { configureGlobal } from 'fast-check';

// whether a mutant is found needs no smallest example: shrinking one takes longer than all the runs before it
configureGlobal({ endOnFailure: true });
