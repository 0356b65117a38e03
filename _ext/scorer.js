/* How search ranks what it finds: what is called so, before pages that hold the words.
   A title that matches has up to 15 points, as much as the query covers of it, and a page's own title one more;
   an entry of the index has up to 100, words have up to 15. */
var Scorer = {
  score: (result) => {
    const [page, title, anchor, description, score] = result;
    const inside = title.includes(" > ");
    const named = description === null && (inside || (anchor === "" && score > 15));
    if (!named) return score;
    // A page is listed once, whether it was found by its title, by the beginning of it or by its words.
    if (inside && anchor === "") result[1] = title.split(" > ")[0];
    const statement = /^#(thm|prp|lem|cor|cnj)-/.test(anchor);
    const ledger = page.endsWith("/ledger") && anchor; // its sections are named after the chapters
    return 100 * score + (statement ? 2 : 0) - (ledger ? 2 : 0);
  },

  // The rest is as in Sphinx.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

// The lines of text below a result are read from its page, which a browser refuses to a file on disk.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
