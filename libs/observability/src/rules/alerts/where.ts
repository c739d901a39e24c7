/** In descriptions: where it is, for a scrape that knows namespaces. */
export const IN_NAMESPACE = '{{ with $labels.namespace }} in namespace {{ . }}{{ end }}';
/** Which target it is. */
export const INSTANCE = '{{ $labels.instance }}';
