/** How many requests a second a load asks for, over time. */
export type RateProfile =
  | { readonly kind: 'constant'; readonly perSecond: number }
  /** From one rate to the other in a straight line, and on at the last one. */
  | {
      readonly kind: 'ramp';
      readonly fromPerSecond: number;
      readonly toPerSecond: number;
      readonly overSeconds: number;
    };

/** Even: one after another at equal distances of the rate; Poisson: as many callers that know nothing of each other. */
export type Spacing = 'even' | 'poisson';

/**
 * When requests are to be sent: ms from the start, ascending, without an end. They are a unit-rate process whose time is
 * stretched by the inverse of the rate's integral, so every profile takes either spacing.
 *
 * @param random uniform in [0, 1)
 */
export function* arrivalTimes(
  profile: RateProfile,
  spacing: Spacing,
  random: () => number,
): Generator<number, never> {
  for (
    let units = spacing === 'even' ? 0 : exponential(random);
    ;
    units += spacing === 'even' ? 1 : exponential(random)
  )
    yield 1_000 * secondsUntil(profile, units);
}

/** Mean 1. */
const exponential = (random: () => number): number => -Math.log(1 - random());

/** After how many seconds a profile has asked for so many requests. */
function secondsUntil(profile: RateProfile, requests: number): number {
  if (profile.kind === 'constant') return requests / profile.perSecond;
  const { fromPerSecond: from, toPerSecond: to, overSeconds } = profile;
  const inRamp = ((from + to) / 2) * overSeconds;
  if (requests >= inRamp) return overSeconds + (requests - inRamp) / to;
  // from t + slope/2 t² = requests; this form of the root holds for a slope of nought and for one that falls
  const slope = (to - from) / overSeconds;
  return (2 * requests) / (from + Math.sqrt(from * from + 2 * slope * requests));
}
