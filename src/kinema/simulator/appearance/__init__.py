"""How the film set looks: colours, materials, floors, skies, scenery, and the even light of the lab."""
