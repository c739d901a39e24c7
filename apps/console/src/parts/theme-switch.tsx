import { theme, THEMES } from '../theme.js';

const NAMES = { system: 'Auto', light: 'Light', dark: 'Dark' } as const;

export function ThemeSwitch() {
  return (
    <fieldset class="switch">
      <legend class="unseen">Theme</legend>
      {THEMES.map((each) => (
        <label key={each}>
          <input
            type="radio"
            name="theme"
            checked={theme.value === each}
            onChange={() => {
              theme.value = each;
            }}
          />
          <span>{NAMES[each]}</span>
        </label>
      ))}
    </fieldset>
  );
}
