declare module "virtual:excerpts" {
  const excerpts: Record<import("../../excerpts").ExcerptName, import("../../excerpts").Excerpt>;
  export default excerpts;
}
