// Form fields with a label and a hint; values are kept by whoever shows them.
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { count, percent } from "../format";

interface NumberProps {
  label: string;
  value: number;
  min: number;
  max: number;
  onChange: (value: number) => void;
  hint?: string;
  /** What the server says is wrong with it. */
  wrong?: string | null;
}

/** What is wrong with the number; null if nothing is. */
export function numberError(value: number, min: number, max: number): string | null {
  return Number.isInteger(value) && value >= min && value <= max ? null : `a whole number from ${count(min)} to ${count(max)}`;
}

export function NumberField({ label, value, min, max, onChange, hint, wrong }: NumberProps) {
  const id = useId();
  const error = wrong ?? numberError(value, min, max);
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      <input
        id={id}
        type="number"
        inputMode="numeric"
        min={min}
        max={max}
        value={Number.isNaN(value) ? "" : value}
        aria-invalid={error !== null}
        aria-describedby={(error ?? hint) && `${id}-hint`}
        onInput={(event) => onChange(event.currentTarget.valueAsNumber)}
      />
    </Field>
  );
}

interface TextProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  hint?: string;
  placeholder?: string;
  wrong?: string | null;
}

export function TextField({ label, value, onChange, hint, placeholder, wrong = null }: TextProps) {
  const id = useId();
  return (
    <Field id={id} label={label} hint={hint} error={wrong}>
      <input
        id={id}
        type="text"
        autocomplete="off"
        spellcheck={false}
        value={value}
        placeholder={placeholder}
        aria-invalid={wrong !== null}
        aria-describedby={(wrong ?? hint) && `${id}-hint`}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    </Field>
  );
}

/** A share from 0 to 1, chosen in whole percents up to `max`. */
export function ShareField({ label, value, onChange, hint, max = 1 }: { label: string; value: number; onChange: (value: number) => void; hint?: string; max?: number }) {
  const id = useId();
  return (
    <Field id={id} label={label} hint={hint}>
      <span class="range">
        <input
          id={id}
          type="range"
          min={0}
          max={max * 100}
          step={1}
          value={Math.round(value * 100)}
          aria-valuetext={percent(value)}
          aria-describedby={hint && `${id}-hint`}
          onInput={(event) => onChange(event.currentTarget.valueAsNumber / 100)}
        />
        <output for={id}>{percent(value)}</output>
      </span>
    </Field>
  );
}

export interface Choice<T extends string> {
  value: T;
  title: string;
  about: string;
}

/** Radio buttons that say what they stand for. */
export function Choices<T extends string>({ legend, name, choices, value, onChange }: { legend: string; name: string; choices: Choice<T>[]; value: T; onChange: (value: T) => void }) {
  return (
    <fieldset class="choices">
      <legend>{legend}</legend>
      {choices.map((choice) => (
        <label key={choice.value} class="choice">
          <input type="radio" name={name} value={choice.value} checked={choice.value === value} onChange={() => onChange(choice.value)} />
          <span>
            <strong>{choice.title}</strong>
            <small>{choice.about}</small>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

/** The error stands where the hint was. */
function Field({ id, label, hint, error = null, children }: { id: string; label: string; hint: string | undefined; error?: string | null; children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children}
      {(error ?? hint) && (
        <small id={`${id}-hint`} class={error === null ? "" : "field-error"}>
          {error ?? hint}
        </small>
      )}
    </div>
  );
}
